"""``python -m calibration``: recalibrate, apply, drift, inspect, and commands on baselines; arguments only."""

import sys
import time
from pathlib import Path

import click

import calibration
from calibration.baseline.baseline import Baseline
from calibration.cli.baseline import approve, merge, profile, show_baseline
from calibration.cli.common import (
    EX_USAGE,
    JSON,
    MODEL,
    OUTPUT,
    THREADS,
    answer_with,
    file_option,
    report_errors,
)
from calibration.errors import DataError
from calibration.patch import Patch
from calibration.report.data import gather
from calibration.report.page import Setting
from calibration.report.page import page as report_page
from calibration.search.options import Options
from calibration.search.reference import ReferenceSet, load_npz
from calibration.stats import atomic_file
from calibration.targets import model_files
from calibration.verdict import describe, drift_summary


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Recalibrate BatchNorm statistics inside a finished model file.

    Array files are npz with x, prepared exactly as for the model: float32, pictures (N, C, H, W), windows of a signal
    (N, C, T) or features (N, F); and optionally y, int64 (N,).
    """


@cli.command()
@MODEL
@file_option("--baseline", "Baseline of this model.")
@file_option("--reference", "npz of what the sensor shows now (x).")
@file_option(
    "--out", "Patch file to write; removed if the answer is no, so that no old one looks like this answer."
)
@click.option("--labels", is_flag=True, help="Let the classes y in the reference decide.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split and the simulated drift.")
@click.option("--sequential", is_flag=True, hidden=True)
@click.option(
    "--report", "page", type=click.Path(path_type=Path, dir_okay=False), help="HTML page to write as well."
)
@click.option("--no-thumbnails", is_flag=True, help="No picture and no window in the page.")
@OUTPUT
@THREADS
@JSON
@report_errors
def recalibrate(
    model: Path,
    baseline: Path,
    reference: Path,
    out: Path,
    labels: bool,
    seed: int,
    sequential: bool,
    page: Path | None,
    no_thumbnails: bool,
    output: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Find out whether a patch makes the model better on the reference, and write it if so."""
    if sequential:
        raise click.UsageError("--sequential is gone: it was slow and found the same. Leave it out.")
    healthy, given = Baseline.load(baseline), _loaded_reference(reference, labels)
    options = Options(seed=seed, threads=threads, output=output)
    verdict = calibration.recalibrate(model, healthy, given.x, given.y if labels else None, options)
    if verdict.patch is None:
        out.unlink(missing_ok=True)
    else:
        verdict.patch.save(out)
    if page is not None:
        material = gather(model, healthy, given.x, verdict, with_pictures=not no_thumbnails, threads=threads)
        further = _how_to_use(model, out) if verdict.accepted else ()
        setting = Setting(f"Recalibration of {model.name}", time.time(), further=further)
        atomic_file.write_atomically(page, report_page(verdict, healthy, material, setting).encode())
    lines = [
        f"{'accepted' if verdict.accepted else 'refused'}: {verdict.candidate}",
        *verdict.reasons,
        *verdict.notes,
    ]
    answer_with({**verdict.to_json(), "out": str(out) if verdict.accepted else None}, lines, as_json)


def _how_to_use(model: Path, patch: Path) -> tuple[tuple[str, str], ...]:
    into = model.with_stem(f"{model.stem}-patched").name
    return (
        ("Use it", f"python -m calibration apply {model.name} --patch {patch.name} --out {into}"),
        ("Take it back", f"Use {model.name}, which is unchanged, instead of {into}."),
    )


def _loaded_reference(data: Path, labels: bool) -> ReferenceSet:
    given = load_npz(data)
    if labels and given.y is None:
        raise DataError(
            str(data), "no array named y", "y, int64 (N,), with --labels", "Add it or drop --labels."
        )
    return given


@cli.command()
@MODEL
@file_option("--patch", "Patch made for this model.")
@file_option("--out", "Patched model to write; of an OpenVINO IR the .xml, the .bin goes next to it.")
@JSON
@report_errors
def apply(model: Path, patch: Path, out: Path, as_json: bool) -> None:
    """Write a copy of the model with the patch in it."""
    given = Patch.load(patch)
    patched = calibration.open_target(model).patched(given)
    written = model_files.write(out, patched.files)
    facts = {
        "out": str(out),
        "files": [str(path) for path in written],
        "patch": describe(given),
        "channels_left_alone": dict(patched.left_alone),
    }
    answer_with(facts, [f"{out}: {given.candidate}, {given.channels} channels."], as_json)


@cli.command()
@MODEL
@file_option("--baseline", "Baseline of this model.")
@file_option("--reference", "npz of what the sensor shows now (x).")
@THREADS
@JSON
@report_errors
def drift(model: Path, baseline: Path, reference: Path, threads: int, as_json: bool) -> None:
    """Show what the daemon's monitor would say of the reference, and how far it is from the baseline at every tap."""
    healthy, given = Baseline.load(baseline), _loaded_reference(reference, labels=False)
    found = calibration.watch_drift(model, healthy, given.x, threads=threads)
    answer = {
        **drift_summary(found.taps),
        "monitor": found.to_json(),
        "frames": len(given.x),
        "baseline_id": healthy.id,
    }
    lines = [
        f"monitor: {found.in_words()}",
        "divergence, tap by tap (0 is none; no alarm level belongs to it):",
        f"shallow {answer['shallow']:.4g}, deep {answer['deep']:.4g}",
        *(f"{value:12.4g}  {tap}" for tap, value in answer["taps"].items()),
    ]
    answer_with(answer, lines, as_json)


@cli.command()
@MODEL
@JSON
@report_errors
def inspect(model: Path, as_json: bool) -> None:
    """Show what can be recalibrated in a model, and why other layers cannot."""
    facts = calibration.open_target(model).inspect()
    lines = [f"{len(facts['taps'])} taps, {facts['channels']} channels, input {facts['input']['shape']}"]
    for tap in facts["taps"]:
        dead = f" ({tap['dead_channels']} dead)" if tap.get("dead_channels") else ""
        lines.append(f"  {tap['channels']:6d}  {tap['kind']:24s} {tap['name']}{dead}")
    lines += [f"  skipped {layer['name']}: {layer['reason']}" for layer in facts["skipped"]]
    answer_with(facts, lines, as_json)


for command in (profile, show_baseline, approve, merge):
    cli.add_command(command)
# The old word, for one release.
cli.add_command(
    click.Command("bless", callback=approve.callback, params=approve.params, help=approve.help, hidden=True)
)


def main() -> None:
    """Run the command line; wrong usage exits 64 (EX_USAGE)."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as err:
        err.show()
        sys.exit(EX_USAGE)
