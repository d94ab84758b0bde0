"""``edge-runtime record``: frames of a running daemon with its answers, into a folder."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.cli.options import EXISTING_FILE, EXISTING_FOLDER, JSON, PATH, SECONDS, print_answer
from edge_runtime.cli.progress import Progress
from edge_runtime.errors import RecordingError

if TYPE_CHECKING:
    from edge_runtime.recordings.client import Wanted
    from edge_runtime.recordings.manifest import Manifest


@click.command()
@click.argument("config", required=False, type=EXISTING_FILE)
@click.option("--out", required=True, type=PATH, help="A new folder for the recording.")
@click.option("--for", "for_s", type=SECONDS, default=60.0, show_default=True, help="Seconds.")
@click.option(
    "--stream", "--camera", "cameras", multiple=True,
    help="Only this camera or sensor; may be given again.",
)  # fmt: skip
@click.option(
    "--fps", type=click.FloatRange(0, 1000, min_open=True), help="At most so many frames a second of each."
)
@click.option("--frames", type=click.IntRange(1, 1_000_000), help="End after so many frames.")
@click.option(
    "--max-mib",
    type=click.IntRange(1, 1 << 20),
    default=1024,
    show_default=True,
    help="Of pictures, windows and answers.",
)
@click.option("--state-dir", type=EXISTING_FOLDER, help="Of the daemon, instead of CONFIG.")
@JSON
def record(
    config: Path | None,
    out: Path,
    for_s: float,
    cameras: tuple[str, ...],
    fps: float | None,
    frames: int | None,
    max_mib: int,
    state_dir: Path | None,
    as_json: bool,
) -> int:
    """Record what a running daemon sees and answers.

    CONFIG is the daemon's file. Run it on the box, as root or as the daemon's user. The daemon goes on as before.
    Only cameras and sensors with 'recordings: true' are recorded. Ctrl-C ends it early, in good order.
    """
    from edge_runtime.config import ConfigHistory
    from edge_runtime.recordings.client import Wanted

    if config is None and state_dir is None:
        raise click.UsageError("give the daemon's CONFIG, or its --state-dir")
    wanted = Wanted(for_s, max_mib << 20, cameras, fps, frames)
    # An edit that broke the file stops no daemon, and is no obstacle here.
    if state_dir is None:
        assert config is not None
        state_dir = ConfigHistory.find(config, os.environ).state_dir
    manifest = _record(state_dir, out, wanted)
    ended = manifest.ended
    assert ended is not None
    if not ended.counts.frames:
        fix = "Look at its status: 'edge-runtime doctor' says what is wrong with a stream."
        raise RecordingError(out, "no frame came", "frames of a camera or sensor", fix)
    print_answer(
        {"recording": str(out), **manifest.model_dump(mode="json")},
        as_json,
        f"recorded {ended.counts.frames} frames with {ended.counts.answers} answers "
        f"({ended.counts.picture_bytes / 2**20:.1f} MiB) to {out}: {ended.because}"
        + (
            f"\n{ended.counts.left_out} frames came faster than they were written and were left out; "
            "--fps takes fewer"
            if ended.counts.left_out
            else ""
        ),
    )
    return 0


def _record(state_dir: Path, out: Path, wanted: "Wanted") -> "Manifest":
    from edge_runtime.recordings.client import Recorder, connect
    from edge_runtime.recordings.model_files import keep_baselines, keep_patch
    from edge_runtime.recordings.writer import RecordingWriter

    with connect(state_dir, wanted) as (link, begun, config_text), Progress() as progress:
        writer = RecordingWriter(out, begun, config_text, wanted.most_bytes)
        keep_baselines(state_dir, out, begun)
        progress.begin("recording", wanted.for_s, unit="share")

        def show(done_s: float, frames: int, picture_bytes: int) -> None:
            progress.set(done_s, f"recording: {frames} frames, {picture_bytes / 2**20:.1f} MiB")

        recorder = Recorder(
            link,
            writer,
            begun,
            wanted,
            time.monotonic,
            time.time,
            lambda model, generation: keep_patch(state_dir, out, model, generation),
            show,
        )
        try:
            because = recorder.take()
        except KeyboardInterrupt:
            because = "interrupted"
        return recorder.end(because)
