"""``edge-runtime replay``: a recording answered again, and whether the answers are the same."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.cli.bundle_argument import BundlePath
from edge_runtime.cli.options import EXISTING_FOLDER, JSON, PATH, print_answer
from edge_runtime.cli.printable import make_lines_printable
from edge_runtime.cli.progress import Progress
from edge_runtime.errors import ExitCode, RecordingError

if TYPE_CHECKING:
    from edge_runtime.config import Config
    from edge_runtime.recordings.arms import Arm
    from edge_runtime.recordings.reader import Recording
    from edge_runtime.recordings.replay import ModelReplay


@click.command()
@click.argument("recording", type=EXISTING_FOLDER)
@click.option("--config", "config_path", type=PATH, help="Take bundles and engine settings from this file.")
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    metavar="[MODEL=]BUNDLE",
    help="Let this one answer, a folder, demo:NAME or an installed one, with the recorded patches; otherwise the "
    "folder that it had on the box.",
)
@JSON
def replay(recording: Path, config_path: Path | None, bundles: tuple[str, ...], as_json: bool) -> int:
    """Answer a recording again: are the answers the same?

    RECORDING is the folder of 'edge-runtime record'. The exit code is 0 when all are the same within the
    tolerance of the bundle, 65 when one is not.
    """
    from edge_runtime.config import load_config
    from edge_runtime.recordings.reader import open_recording
    from edge_runtime.recordings.replay import replay as answer_again

    opened = open_recording(recording)
    config = None if config_path is None else load_config(config_path, os.environ)
    given = _read_bundles(bundles, opened)
    with Progress() as progress:

        def show(model: str, number: int, total: int) -> None:
            progress.begin(f"answering {model}", total, is_even=True)
            progress.set(number)

        found = answer_again(
            opened, lambda model, patch: _open_arm(opened, config, given, model, patch), show
        )
    is_same = all(one.same == one.compared for one in found)
    answer = {
        "recording": str(recording),
        "same": is_same,
        "whole": opened.is_whole,
        "models": [one.to_json() for one in found],
    }
    cut_off = (
        [] if opened.is_whole else ["the recording was cut off; it is replayed up to its last whole frame"]
    )
    lines = [*cut_off, *(text for one in found for text in _describe(one))]
    print_answer(answer, as_json, make_lines_printable("\n".join(lines)))
    return ExitCode.OK if is_same else ExitCode.DATA


def _read_bundles(given: tuple[str, ...], recording: "Recording") -> dict[str, Path]:
    """Folders by model.

    Raises:
        click.UsageError: it is not clear which model is meant.
    """
    models, found = list(recording.manifest.models), dict[str, Path]()
    for text in given:
        name, mark, folder = text.partition("=")
        if not mark and len(models) == 1:
            name, folder = models[0], text
        if name not in models or not folder:
            raise click.UsageError(
                f"--bundle {text}: expected MODEL=BUNDLE with a model of: {', '.join(models)}"
            )
        found[name] = Path(folder) if os.path.exists(folder) else _find_named(folder)  # noqa: PTH110 - of any user
    return found


def _find_named(text: str) -> Path:
    """The folder of the versions, or of the one that is named."""
    newest = BundlePath().convert(text, None, click.get_current_context())
    assert isinstance(newest, Path)
    return newest if newest.name == text.rpartition("/")[2] else newest.parent


def _open_arm(
    recording: "Recording", config: "Config | None", given: dict[str, Path], model: str, patch: str | None
) -> "Arm":
    from edge_runtime.deployment.open_bundle import find_engine_settings
    from edge_runtime.deployment.versions import VERSION, find_bundle
    from edge_runtime.inference.engines.factory import DEFAULTS
    from edge_runtime.recordings.arms import open_arm

    note, settings = recording.manifest.models[model], DEFAULTS
    version = note.bundle.rpartition("/")[2]
    if not VERSION.fullmatch(version):
        fix = "Copy the recording again, or record anew."
        raise RecordingError(recording.folder, f"a bundle {note.bundle[:64]!r}", "NAME/NUMBER", fix)
    if config is not None and model not in config.models:
        fix = f"It has: {', '.join(config.models) or 'none'}. Name another file, or give --bundle."
        raise RecordingError(recording.folder, f"model {model!r} is not in --config", "one that is", fix)
    if config is not None:
        settings = find_engine_settings(config, model)
    root = given.get(model) or (
        _find_on_box(recording, model) if config is None else config.bundle_root(model)
    )
    if root is None or not os.path.isdir(root):  # noqa: PTH112 - of any user, and of any length
        fix = f"Give --bundle FOLDER with a copy of the bundle {note.bundle}."
        raise RecordingError(
            recording.folder, f"recorded with {root or note.folder}, which is not here", "the bundle", fix
        )
    path = None if patch is None else recording.patch_path(model, patch)
    return open_arm(find_bundle(root, int(version)), path, settings)


def _find_on_box(recording: "Recording", model: str) -> Path | None:
    """The folder of the bundle on the box; None for a model that was sent in the recording itself."""
    folder = Path(os.path.realpath(recording.manifest.models[model].folder))
    return None if folder.is_relative_to(recording.folder.resolve()) else folder


def _describe(found: "ModelReplay") -> list[str]:
    word = "the same" if found.same == found.compared else "NOT the same"
    gap = f"worst difference {found.worst:.3g} (tolerance {found.tolerance:g}, by {found.compared_by})"
    lines = [f"{found.model}: {word}: {found.same} of {found.compared} answers, {gap}"]
    if found.labelled:
        lines.append(f"  best label the same: {found.labels_same} of {found.labelled}")
    lines.append(f"  answered by: {', '.join(found.generations)}; {found.runs_on}")
    if not found.has_same_model:
        lines.append("  the model file of this bundle is not the recorded one")
    if found.recorded_on != found.runs_on:
        lines.append(f"  recorded on: {found.recorded_on}")
    before, now = (found.to_json()["infer_ms"][key] for key in ("recorded", "now"))
    if before is not None and now is not None:
        lines.append(f"  inference, median: {now:g} ms; {before:g} ms when recorded")
    lines += [f"  not compared: {count} ({reason})" for reason, count in found.not_compared.items()]
    for one in found.differences[:5]:
        gap = "" if one.gap is None else f" (difference {one.gap:.3g})"
        lines.append(f"  {one.stream} frame {one.seq}: {one.recorded} -> {one.now}{gap}")
    more = len(found.differences) - 5
    return lines + ([f"  and {more} more; --json lists them"] if more > 0 else [])
