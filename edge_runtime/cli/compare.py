"""``edge-runtime compare``: two models on one recording, as a page."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.cli.bundle_argument import BundlePath
from edge_runtime.cli.options import EXISTING_FILE, EXISTING_FOLDER, JSON, PATH, OutputFile, print_answer
from edge_runtime.cli.printable import make_lines_printable
from edge_runtime.cli.progress import Progress
from edge_runtime.errors import RecordingError
from edge_runtime.system.milliseconds import format_ms

if TYPE_CHECKING:
    from calibration.baseline.baseline import Baseline
    from edge_runtime.recordings.arms import Arm
    from edge_runtime.recordings.comparison import ComparisonResult
    from edge_runtime.recordings.reader import Recording


class ArmSpec(BundlePath):
    """Gives the folder of a bundle and the text of a patch, None without one; ``BUNDLE`` or ``BUNDLE+PATCH``."""

    name = "bundle"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Both; a folder whose name has a ``+`` comes first.

        Raises:
            click.BadParameter: there is no such bundle.
            ConfigError: the configuration does not say where bundles are.
        """
        text = str(value)
        base, mark, patch = text.rpartition("+")
        if not mark or Path(text).is_dir():
            return super().convert(text, param, ctx), None
        return super().convert(base, param, ctx), patch


@click.command()
@click.argument("recording", type=EXISTING_FOLDER)
@click.argument("first", metavar="A", type=ArmSpec())
@click.argument("second", metavar="B", type=ArmSpec())
@click.option(
    "--out", type=OutputFile(), default=Path("comparison.html"), show_default=True, help="The page."
)
@click.option("--model", help="Whose frames; needed when several models were recorded.")
@click.option("--config", "config_path", type=PATH, is_eager=True, help="Find bundles by name in its store.")
@click.option("--labels", type=EXISTING_FILE, help="CSV of 'CAMERA/NUMBER,LABEL': tells which one is right.")
@click.option(
    "--baseline",
    "baselines",
    type=EXISTING_FILE,
    multiple=True,
    help="Score drift from this baseline too; the recording has that of the box.",
)
@JSON
def compare(
    recording: Path,
    first: tuple[Path, str | None],
    second: tuple[Path, str | None],
    out: Path,
    model: str | None,
    config_path: Path | None,  # noqa: ARG001 - where bundles are looked for
    labels: Path | None,
    baselines: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Compare two bundles or patches on a recording.

    A and B are bundles: a folder, demo:NAME, or the name of an installed one. BUNDLE+PATCH is one with a patch: a file,
    or p3 for one that the recording has.
    """
    from edge_runtime.recordings.comparison import compare as compare_arms
    from edge_runtime.recordings.comparison_page import make_page
    from edge_runtime.recordings.labels import read_labels
    from edge_runtime.recordings.reader import open_recording
    from edge_runtime.system.atomic_file import write_atomically

    opened = open_recording(recording)
    chosen = _choose_model(opened, model)
    given = None if labels is None else read_labels(labels, opened)
    known = _load_baselines([*baselines, opened.baseline_path(chosen)])
    with ExitStack() as open_arms, Progress() as progress:
        progress.begin("opening both")
        patches = [_find_patch(opened, chosen, patch) for _, patch in (first, second)]
        arms = _open(first[0], patches[0], open_arms), _open(second[0], patches[1], open_arms)
        require_own(baselines, known, {arm.bundle.model_files.sha256 for arm in arms})

        def show(number: int, total: int) -> None:
            progress.begin("answering", total, is_even=True)
            progress.set(number)

        def find_baseline(arm: "Arm") -> "Baseline | None":
            return known.get(arm.bundle.model_files.sha256)

        found = compare_arms(opened, chosen, arms, find_baseline, given, show)
    write_atomically(out, make_page(found).encode())
    text = make_lines_printable("\n".join(_describe(found, out)))
    print_answer({"page": str(out), **found.to_json()}, as_json, text)
    return 0


def _choose_model(recording: "Recording", wanted: str | None) -> str:
    models = list(recording.manifest.models)
    if wanted is None and len(models) == 1:
        return models[0]
    if wanted not in models:
        raise click.UsageError(f"--model: expected one of: {', '.join(models)}")
    return wanted


def _load_baselines(paths: list[Path]) -> "dict[str, Baseline]":
    """By the model that they are of; those that are not there are passed over."""
    from calibration.baseline.baseline import Baseline

    loaded = [Baseline.load(path) for path in paths if path.exists()]
    return {one.model_sha256: one for one in reversed(loaded)}


def require_own(given: tuple[Path, ...], known: "dict[str, Baseline]", models: set[str]) -> None:
    """Refuse baselines that a person named where all are of other models: they would be passed over without a word.

    Raises:
        RecordingError: it is so.
    """
    others = [one for sha256, one in known.items() if sha256 not in models]
    if given and len(others) == len(known):
        found = f"baselines of other models: {', '.join(one.name for one in others)}"
        fix = "Name those of the compared bundles."
        raise RecordingError(given[0], found, "a baseline of a compared bundle's model", fix)


def _find_patch(recording: "Recording", model: str, patch: str | None) -> Path | None:
    from edge_runtime.deployment.model_state import PATCH_ID

    if patch is None:
        return None
    path = recording.patch_path(model, patch) if PATCH_ID.fullmatch(patch) else Path(patch)
    if not path.is_file():
        fix = "Name a file, or a patch of the recording such as p3."
        raise RecordingError(path, "no such patch", "a patch that answered in the recording, or a file", fix)
    return path


def _open(folder: Path, patch: Path | None, opened: ExitStack) -> "Arm":
    from edge_runtime.recordings.arms import open_arm

    arm = open_arm(folder, patch)
    opened.callback(arm.close)
    return arm


def _describe(found: "ComparisonResult", out: Path) -> list[str]:
    answers = found.to_json()
    first, second = answers["first"], answers["second"]
    agreed = "cannot be compared" if found.agreement is None else f"agree on {found.agreement:.1%}"
    lines = [f"{first['name']} and {second['name']} {agreed} of {found.compared} frames"]
    if found.labelled:
        lines.append(
            f"  right: {first['accuracy']:.1%} and {second['accuracy']:.1%} of {found.labelled} labelled frames"
        )
    times = {
        q: " and ".join(format_ms(one["latency_ms"][q]) for one in (first, second)) for q in ("p50", "p99")
    }
    lines.append(f"  latency, median: {times['p50']} ms; p99: {times['p99']} ms")
    for arm in (found.first, found.second):
        words = arm.drift.note if arm.drift.score is None else arm.drift.score.in_words()
        lines.append(f"  drift, {arm.name}: {words}")
    lines += [f"  {a} -> {b}: {count} frames" for a, b, count in found.changes[:3]]
    return [*lines, f"  page: {out}"]
