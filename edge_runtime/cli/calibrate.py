"""``edge-runtime calibrate``: a baseline and a patch from folders of pictures or windows."""

from pathlib import Path

import click

from edge_runtime.cli.options import BUNDLE, EXISTING_FOLDER, JSON, PATH, OutputFile, print_answer
from edge_runtime.cli.progress import Progress


@click.command()
@BUNDLE
@click.option("--healthy", type=EXISTING_FOLDER, help="Pictures of the healthy site; makes the baseline.")
@click.option("--baseline", type=PATH, help="Baseline file: written with --healthy, else read.")
@click.option(
    "--reference", type=EXISTING_FOLDER, help="Pictures of now; sub-folders named like labels are labels."
)
@click.option("--out", type=OutputFile(), help="Patch file to write when the gate accepts.")
@click.option("--seed", type=int, default=0, show_default=True)
@JSON
def calibrate(
    bundle: Path,
    healthy: Path | None,
    baseline: Path | None,
    reference: Path | None,
    out: Path | None,
    seed: int,
    as_json: bool,
) -> int:
    """Recalibrate BUNDLE from folders of pictures or windows.

    Without a daemon; it is commissioned before from healthy ones.
    """
    from edge_runtime.cli.offline import calibrate_bundle

    if healthy is not None and baseline is not None:
        OutputFile().convert(baseline, None, None)
    with Progress() as progress:

        def tell(what: str, share: float) -> None:
            progress.begin(what, 1.0, unit="share")
            progress.set(share)

        report = calibrate_bundle(bundle, healthy, baseline, reference, out, seed, tell)
    print_answer(report, as_json, "\n".join(report["lines"]))
    return 0
