"""The commands that make, show, renew and pool baseline files. Only argument handling here."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

import calibration
from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts
from calibration.baseline.pooling import pool
from calibration.cli.common import JSON, MODEL, OUTPUT, THREADS, answer_with, file_option, report_errors
from calibration.search import reference

GOOD_FRAMES = 64
"""With fewer the drift thresholds are wide."""

SAMPLES = click.option(
    "--healthy-samples",
    "--witness",
    "healthy_samples",
    type=click.IntRange(0, 512),
    default=None,
    show_default="96 pictures of 224 x 224, up to 512 smaller samples",
    help="Healthy samples to keep in the file, to judge patches on later. 0 keeps none.",
)
DAYS = click.option(
    "--expires-days",
    type=click.FloatRange(min=0, min_open=True, max=36_500),
    help="Make no patches from it after so many days, until it is approved again. Without: no end.",
)
FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@MODEL
@file_option("--data", "npz of healthy samples (x), in the order in which they were seen.")
@file_option("--out", "Baseline file to write (safetensors).")
@click.option("--name", default="default", show_default=True, help="Of this state of the site: day, night.")
@DAYS
@click.option(
    "--effective",
    type=click.FloatRange(min=0, min_open=True),
    help="How many independent frames the samples are worth. Without: worked out from their likeness.",
)
@SAMPLES
@OUTPUT
@THREADS
@JSON
@report_errors
def profile(
    model: Path,
    data: Path,
    out: Path,
    name: str,
    expires_days: float | None,
    effective: float | None,
    healthy_samples: int | None,
    output: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Record the baseline of a healthy site."""
    now_wall_s = time.time()
    facts = BaselineFacts(name=name).approve("python -m calibration", now_wall_s, expires_days)
    healthy = reference.load_npz(data)
    baseline = calibration.profile(
        model,
        healthy.x,
        healthy_samples=healthy_samples,
        threads=threads,
        effective_count=effective,
        facts=facts,
        output=output,
    )
    baseline.save(out)
    notes = []
    if repeated := len(healthy.x) - baseline.count:
        notes.append(f"{repeated} of {len(healthy.x)} frames equal an earlier one and were left out.")
    if baseline.count < GOOD_FRAMES:
        notes.append(
            f"{baseline.count} frames are few for a baseline: the fewer, the larger a drift must be to be noticed, and "
            f"the less sure a correction is. {GOOD_FRAMES} and more are good."
        )
    if baseline.healthy_samples is not None and baseline.healthy_samples.answers is None:
        notes.append(
            "the model's answers are not known for class scores or boxes by their values: drift is scored, and no "
            "patch is made. --output names the output with the answers, where there are others; the manifest of a "
            "bundle says what they are."
        )
    shown = {
        "baseline": str(out),
        **baseline.describe(now_wall_s),
        "size_bytes": out.stat().st_size,
        "notes": notes,
    }
    text = (
        f"{out}: {baseline.count} frames worth {baseline.effective_count:.0f}, "
        f"{len(baseline.moments)} taps with the input, {shown['witness']} healthy samples."
    )
    answer_with(shown, [text], as_json)
    for note in notes:
        click.echo(f"note: {note}", err=True)


@click.command("baseline")
@FILE
@JSON
@report_errors
def show_baseline(file: Path, as_json: bool) -> None:
    """Show what a baseline file is: its name, origin, size, age and end."""
    _show(Baseline.load(file).describe(time.time()), as_json)


@click.command()
@FILE
@click.option("--by", default="operator", show_default=True, help="Who looked at the site.")
@DAYS
@JSON
@report_errors
def approve(file: Path, by: str, expires_days: float | None, as_json: bool) -> None:
    """Confirm again that the site is healthy as the baseline shows it; its moments stay as they are."""
    now_wall_s = time.time()
    known = Baseline.load(file)
    baseline = known.with_facts(known.facts.approve(by, now_wall_s, expires_days))
    baseline.save(file)
    _show(baseline.describe(now_wall_s), as_json)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@file_option("--out", "Baseline file to write (safetensors).")
@click.option("--name", default="pooled", show_default=True, help="Of the result.")
@SAMPLES
@click.option("--no-pictures", is_flag=True, help="Keep no healthy samples: the same as --healthy-samples 0.")
@JSON
@report_errors
def merge(
    files: tuple[Path, ...],
    out: Path,
    name: str,
    healthy_samples: int | None,
    no_pictures: bool,
    as_json: bool,
) -> None:
    """Pool the baselines FILES of several boxes with the same model and preprocessing into one, exactly."""
    pooled = pool(
        [Baseline.load(file) for file in files],
        name=name,
        healthy_samples=0 if no_pictures else healthy_samples,
    )
    pooled.save(out)
    shown = pooled.describe(time.time())
    text = f"{out}: {len(files)} baselines, {pooled.count} frames worth {pooled.effective_count:.0f}."
    answer_with({"baseline": str(out), **shown}, [text], as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    """For a person one fact a line, times as dates, what is unknown left out."""
    lines = []
    for key, value in facts.items():
        if key.endswith("_wall_s") and isinstance(value, float):
            word = datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
        else:
            word = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if value not in (None, []):
            lines.append(f"{key.removesuffix('_wall_s'):17s} {word}")
    answer_with(facts, lines, as_json)
