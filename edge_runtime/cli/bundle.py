"""``edge-runtime bundle``: build, inspect, verify and install bundles."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from edge_runtime.cli.bundle_attach import attach, attached
from edge_runtime.cli.bundle_sign import TRUST, sign, trust_in
from edge_runtime.cli.bundle_store import gc_command, install_command, list_command, remove_command
from edge_runtime.cli.bundle_travel import pack, pull, push
from edge_runtime.cli.options import BUNDLE, JSON, PATH, print_answer
from edge_runtime.cli.progress import Progress
from edge_runtime.errors import StateError
from edge_runtime.system.model_formats import ModelFormat

if TYPE_CHECKING:
    from edge_runtime.bundles.build.from_recipe import Built

EXAMPLES = {"efficientnet-lite0": "efficientnet_lite0", "street-pedestrians": "street_pedestrians"}
"""Bundles that were commands of this program until 0.1, and the modules in ``examples`` that build them now."""


@click.group("bundle")
def bundle_group() -> None:
    """Build, look at, verify and install bundles."""


for subcommand in (
    sign,
    pack,
    push,
    pull,
    attach,
    attached,
    install_command,
    list_command,
    remove_command,
    gc_command,
):
    bundle_group.add_command(subcommand)


@bundle_group.command()
@BUNDLE
@TRUST
@JSON
def verify(bundle: Path, trust: tuple[Path, ...], as_json: bool) -> int:
    """Check the hashes of BUNDLE and run its golden self-test.

    With --trust, also that one of these keys signed it.
    """
    from edge_runtime.cli.offline import verify_bundle

    report = verify_bundle(bundle, trust_in(trust))
    signed = f"signed by {report['signed_by']}, " if report["signed_by"] else ""
    golden = (
        f"{report['windows']} golden windows"
        if "windows" in report
        else f"{report['pictures']} golden pictures"
    )
    text = (
        f"{report['bundle']}: ok, {signed}{golden}, worst difference "
        f"{report['worst']:.2g} (allowed {report['tolerance']:g}), {report['runs_on']}"
    )
    print_answer(report, as_json, text)
    return 0


@bundle_group.command()
@BUNDLE
@JSON
def inspect(bundle: Path, as_json: bool) -> int:
    """Show what BUNDLE is and what recalibration can do with it.

    With --json everything is told: the whole manifest, and each layer.
    """
    from edge_runtime.cli.bundle_text import describe_bundle
    from edge_runtime.cli.offline import inspect_bundle

    report = inspect_bundle(bundle)
    print_answer(report, as_json, describe_bundle(report))
    return 0


@bundle_group.command()
@click.argument("recipe")
@click.option("--out", required=True, type=PATH, help="Folder for bundles.")
@click.option("--version", "number", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--quantize", type=click.Choice(["none", "int8"]), help="Instead of the recipe's.")
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(get_args(ModelFormat)),
    help="Instead of the recipe's; of several the best by measurement.",
)  # fmt: skip
@click.option("--pictures", type=click.Path(exists=True, path_type=Path), hidden=True)
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
    """Build a bundle from RECIPE.

    That is a YAML file that names model, preprocessing and pictures.

    Building needs the extra 'build', OpenVINO models 'openvino' as well.
    """
    _require_fitting(recipe, quantize=quantize, format=formats, pictures=pictures)
    try:  # before minutes of work go into what belongs there
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StateError(f"--out {out}: {err.strerror}; name a folder that can be written") from err
    if recipe in EXAMPLES:
        given = {"--out": out.absolute(), "--version": number, "--pictures": pictures and pictures.absolute()}
        return _run_example(EXAMPLES[recipe], given, as_json)
    from edge_runtime.bundles.build.from_recipe import STEPS, build_from_recipe

    said = {"version": number, "quantize": quantize, "formats": list(formats) or None}
    changes = {name: value for name, value in said.items() if value is not None}
    with Progress() as progress:

        def tell(step: str) -> None:
            progress.begin("building", len(STEPS))
            progress.set(STEPS.index(step), step)

        built = build_from_recipe(Path(recipe), out, changes, tell)
    return print_built(built, as_json)


def _require_fitting(recipe: str, **given: object) -> None:
    """Refuse options that would be ignored."""
    of_examples = {"efficientnet-lite0": set[str](), "street-pedestrians": {"pictures"}}
    obeyed = of_examples.get(recipe, {"quantize", "format"})
    for name in sorted(name for name, value in given.items() if value and name not in obeyed):
        hint = "set calibration in the recipe" if name == "pictures" else "it is built one way only"
        raise click.UsageError(f"--{name} means nothing to {recipe}: {hint}")


def _run_example(module: str, options: Mapping[str, object], as_json: bool) -> int:
    """Forward to ``python -m examples.<module>``, as long as the old command is known."""
    roots = (Path(__file__).parents[2], Path.cwd())
    root = next((root for root in roots if (root / "examples" / f"{module}.py").is_file()), None)
    print(f"this has moved: python -m examples.{module}, in the source tree", file=sys.stderr)
    if root is None:
        raise click.UsageError("this installation has no examples; run it in the source tree")
    given = [str(part) for option, value in options.items() if value is not None for part in (option, value)]
    command = [sys.executable, "-m", f"examples.{module}", *given, *(["--json"] if as_json else [])]
    return subprocess.run(command, cwd=root, check=False).returncode


def print_built(built: "Built", as_json: bool) -> int:
    """Print what was built and measured; returns the exit code 0."""
    kind = "int8" if built.is_int8 else "float"
    lines = [f"built {built.path}: {built.format} {kind}, {built.size_bytes / 1e6:.1f} MB"]
    lines += [f"  {name}: {words}" for name, words in built.candidates.items()]
    lines += [f"  note: {note}" for note in built.notes]
    print_answer(built.model_dump(exclude_none=True), as_json, "\n".join(lines))
    return 0
