"""``edge-runtime infer``: answers to pictures or windows, a line each."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from edge_runtime.cli.options import BUNDLE, PATH, print_answer
from edge_runtime.cli.printable import make_printable
from edge_runtime.cli.progress import Progress
from edge_runtime.errors import ExitCode, StateError

if TYPE_CHECKING:
    from edge_runtime.inference.preprocess.input_files import Noun

_WIDEST = 60
"""Characters of the first column; longer names push their line's second one away."""


@click.command()
@BUNDLE
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option(
    "--config",
    "config_path",
    type=PATH,
    is_eager=True,
    help="Look for an installed BUNDLE where this configuration has them.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each, a line each.")
def infer(bundle: Path, files: tuple[Path, ...], config_path: Path | None, *, as_json: bool) -> int:  # noqa: ARG001 - BUNDLE reads it
    """Run FILES through BUNDLE and print the answers.

    BUNDLE is a folder, the name of an installed bundle, or demo:efficientnet-lite0, which ships and tells a thousand
    kinds of things apart. FILES are pictures, and folders with all pictures in and below them; for a model of signals
    windows: .npy, .csv and others by the end of their name, one window a file, or a record of several.

    The exit code is 65 when one was rejected.
    """
    from edge_runtime.bundles.verify import read_manifest
    from edge_runtime.cli.offline import answer_files

    noun = read_manifest(bundle).preprocess.noun
    found = [path for given in files for path in find_inputs(given, noun)]
    width = min(_WIDEST, max(len(str(path)) for path in found))
    answered = rejected = 0
    with _show_progress(len(found)) as progress:
        for answered, answer in enumerate(answer_files(bundle, found), 1):
            rejected += "rejected" in answer
            if answered == 1 and not as_json:
                click.echo(click.style(f"{noun.upper():<{width}}  ANSWER", bold=True))
            begin = f" from {answer['from_s']:g} s" if "from_s" in answer else ""
            line = make_printable(f"{answer[noun] + begin:<{width}}  {format_answer(answer)}")
            print_answer(answer, as_json, line)
            progress.advance()
    if not as_json and answered > 1:
        click.echo(f"{answered} {noun}s, {rejected} rejected", err=True)
    return ExitCode.DATA if rejected else ExitCode.OK


def _show_progress(files: int) -> Progress:
    """Nothing where the answers themselves run over the terminal."""
    progress = Progress()
    if not sys.stdout.isatty():
        progress.begin("answering", files, is_even=True)
    return progress


def find_inputs(given: Path, noun: "Noun") -> Sequence[Path]:
    """The file itself, or the pictures or windows in and below a folder in natural order.

    Raises:
        click.UsageError: the folder has none.
        StateError: it cannot be listed.
    """
    from edge_runtime.sources.folder import PICTURES, Skipped, list_files, natural_order
    from edge_runtime.sources.signal_folder import FILES

    if not given.is_dir():
        return [given]
    skipped = Skipped(PICTURES if noun == "picture" else FILES)
    try:
        names = sorted(
            (one.name for one in list_files(given, subfolders=True, skipped=skipped)), key=natural_order
        )
    except OSError as err:
        raise StateError(
            f"cannot list {given}: {err.strerror}; expected a folder that this user may read"
        ) from err
    if not names:
        raise click.UsageError(f"{given}: {skipped.explain(has_wanted=False) or 'the folder is empty'}")
    return [given / name for name in names]


def format_answer(answer: dict[str, Any]) -> str:
    """The answer to one input, for a person."""
    if "rejected" in answer:
        return f"rejected, {answer['rejected']}: {answer['detail']}"
    if "top" in answer:
        return ", ".join(f"{top['label']} {top['score']:.3f}" for top in answer["top"])
    if "detections" in answer:
        return "; ".join(map(_format_detection, answer["detections"])) or "no detections"
    if "values" in answer:
        return ", ".join(map(_format_value, answer["values"]))
    if "anomaly" in answer:
        return _format_anomaly(answer["anomaly"])
    return orjson.dumps({"outputs": answer["outputs"]}, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _format_value(found: dict[str, Any]) -> str:
    where = f" ({found['limits']} its limits)" if found["limits"] in ("below", "above") else ""
    return f"{found['name']} {found['value']:.6g} {found['unit']}".rstrip() + where


def _format_anomaly(found: dict[str, Any]) -> str:
    verdict = {None: "no threshold yet", True: "anomalous", False: "normal"}[found["is_anomalous"]]
    above = "" if found["threshold"] is None else f", threshold {found['threshold']:.6g}"
    return f"{verdict}: score {found['score']:.6g}{above}"


def _format_detection(found: dict[str, Any]) -> str:
    left, top, right, bottom = (round(edge) for edge in found["box"])
    return f"{found['label']} {found['score']:.2f} at {left},{top}, {right - left} x {bottom - top} pixels"
