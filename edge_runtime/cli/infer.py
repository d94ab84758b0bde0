"""``edge-runtime infer``: answers to pictures, a line each."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from edge_runtime.cli.options import BUNDLE, PATH, print_answer
from edge_runtime.cli.printable import make_printable
from edge_runtime.cli.progress import Progress
from edge_runtime.errors import ExitCode, StateError

_WIDEST = 60
"""Characters of the first column; longer names push their line's second one away."""


@click.command()
@BUNDLE
@click.argument("pictures", nargs=-1, required=True, type=PATH)
@click.option(
    "--config",
    "config_path",
    type=PATH,
    is_eager=True,
    help="Look for an installed BUNDLE where this configuration has them.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture, a line each.")
def infer(bundle: Path, pictures: tuple[Path, ...], config_path: Path | None, *, as_json: bool) -> int:  # noqa: ARG001 - BUNDLE reads it
    """Run PICTURES through BUNDLE and print the answers.

    BUNDLE is a folder, the name of an installed bundle, or demo:efficientnet-lite0, which ships and tells a thousand
    kinds of things apart. PICTURES are files, and folders with all pictures in and below them.

    The exit code is 65 when a picture was rejected.
    """
    from edge_runtime.cli.offline import answer_pictures

    found = [path for given in pictures for path in find_pictures(given)]
    width = min(_WIDEST, max(len(str(path)) for path in found))
    rejected = 0
    with _show_progress(len(found)) as progress:
        for number, answer in enumerate(answer_pictures(bundle, found)):
            rejected += "rejected" in answer
            if number == 0 and not as_json:
                click.echo(click.style(f"{'PICTURE':<{width}}  ANSWER", bold=True))
            line = make_printable(f"{answer['picture']:<{width}}  {format_answer(answer)}")
            print_answer(answer, as_json, line)
            progress.advance()
    if not as_json and len(found) > 1:
        click.echo(f"{len(found)} pictures, {rejected} rejected", err=True)
    return ExitCode.DATA if rejected else ExitCode.OK


def _show_progress(pictures: int) -> Progress:
    """Nothing where the answers themselves run over the terminal."""
    progress = Progress()
    if not sys.stdout.isatty():
        progress.begin("answering", pictures, is_even=True)
    return progress


def find_pictures(given: Path) -> Sequence[Path]:
    """The file itself, or the pictures in and below a folder in natural order.

    Raises:
        click.UsageError: the folder has none.
        StateError: it cannot be listed.
    """
    from edge_runtime.sources.folder import Skipped, list_pictures, natural_order

    if not given.is_dir():
        return [given]
    skipped = Skipped()
    try:
        names = sorted(
            (one.name for one in list_pictures(given, subfolders=True, skipped=skipped)), key=natural_order
        )
    except OSError as err:
        raise StateError(
            f"cannot list {given}: {err.strerror}; expected a folder that this user may read"
        ) from err
    if not names:
        raise click.UsageError(f"{given}: {skipped.explain(has_pictures=False) or 'the folder is empty'}")
    return [given / name for name in names]


def format_answer(answer: dict[str, Any]) -> str:
    """The answer to one picture, for a person."""
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
