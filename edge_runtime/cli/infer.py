"""``edge-runtime infer``: answers to pictures, a line each."""

from pathlib import Path
from typing import Any

import click
import orjson

from edge_runtime.cli.options import BUNDLE, PATH, print_answer


@click.command()
@BUNDLE
@click.argument("pictures", nargs=-1, required=True, type=PATH)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture.")
def infer(bundle: Path, pictures: tuple[Path, ...], as_json: bool) -> int:
    """Run PICTURES through BUNDLE and print the answers.

    The exit code is 65 when a picture was rejected.
    """
    from edge_runtime.cli.offline import answer_pictures

    rejected = 0
    for answer in answer_pictures(bundle, pictures):
        rejected += "rejected" in answer
        print_answer(answer, as_json, format_answer(answer))
    return 65 if rejected else 0


def format_answer(answer: dict[str, Any]) -> str:
    """The answer to one picture as a line for a person."""
    if "rejected" in answer:
        found = f"rejected, {answer['rejected']}: {answer['detail']}"
    elif "top" in answer:
        found = ", ".join(f"{top['label']} {top['score']:.3f}" for top in answer["top"])
    elif "detections" in answer:
        found = "; ".join(map(_format_detection, answer["detections"])) or "no detections"
    else:
        found = orjson.dumps({"outputs": answer["outputs"]}, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return f"{answer['picture']}: {found}"


def _format_detection(found: dict[str, Any]) -> str:
    left, top, right, bottom = (round(edge) for edge in found["box"])
    return f"{found['label']} {found['score']:.2f} at {left},{top}, {right - left} x {bottom - top} pixels"
