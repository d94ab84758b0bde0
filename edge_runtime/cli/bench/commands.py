"""``edge-runtime bench``: its options, and its report as a table."""

import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edge_runtime.cli.options import (
    EXISTING_FOLDER,
    MODEL,
    OPTIONAL_BUNDLE,
    PATH,
    print_indented,
    require_config,
)
from edge_runtime.cli.progress import Progress
from edge_runtime.system.milliseconds import format_ms
from edge_runtime.system.model_formats import Precision, RuntimeChoice

if TYPE_CHECKING:
    from edge_runtime.cli.bench.rounds import BenchOrder

ENGINE_OPTIONS = ("runtime", "devices", "precision", "pin_threads")
FIGURES = (
    ("frames/s, flat out", "", "{frames_per_s:.1f}", "{frames_per_s:.1f}"),
    ("inference p50, ms", " paced", "{call_ms_p50}", "{infer_ms_p50}"),
    ("inference p99, ms", " paced", "{call_ms_p99}", ""),
    ("decode p50, ms", " paced", "", "{decode_ms_p50}"),
    ("capture to outbox p50, ms", " paced", "", "{total_ms_p50}"),
    ("capture to outbox p99, ms", " paced", "", "{total_ms_p99}"),
    ("CPU per frame, ms", " paced", "{cpu_ms_per_frame}", "{cpu_ms_per_frame}"),
    ("memory (PSS), MiB", "", "{pss_mib:.0f}", "{pss_mib:.0f}"),
    ("start to first result, s", "", "", "{first_result_s:.2f}"),
)
"""Label, which measurement, and its figures of the bare engine and of the daemon."""
RATIOS = (
    ("frames_per_s", "", "daemon over bare engine, {} caller(s): frames/s"),
    ("frames_per_s_over_loop", "", "daemon over engine and preparation, {} caller(s)"),
    ("frames_per_s_over_bare", "_all", "daemon over bare engine, {} caller(s): frames/s"),
    ("frames_per_s_over_loop", "_all", "daemon over engine and preparation, {} caller(s)"),
    ("paced_total_p99_over_infer_p50", "", "paced: capture-to-outbox p99 over bare p50"),
    ("paced_cpu_per_frame", "", "paced: CPU per frame over bare engine"),
    ("memory", "", "memory over bare engine"),
)
"""Key, its suffix (``_all``: measured with as many callers as the daemon has workers), and label."""


def _threads(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """``threads`` as in the configuration: a number from 1 to 256, or a word."""
    if value in (None, "auto", "latency", "throughput"):
        return value
    return click.IntRange(1, 256).convert(value, option, context)


@click.command("bench")
@OPTIONAL_BUNDLE
@click.option(
    "--config", "config_path", type=PATH, is_eager=True,
    help="Run it as a model of this file: its engine, threads, number of streams, and bundle unless BUNDLE is given.",
)  # fmt: skip
@MODEL
@click.option(
    "--inputs", "--pictures", "inputs", type=EXISTING_FOLDER,
    help="A folder of pictures or windows; without it the golden ones, pictures as JPEGs of 1280 x 720.",
)  # fmt: skip
@click.option(
    "--streams",
    type=click.IntRange(1, 64),
    help="Cameras or sensors; without: the model's in the file, or 1.",
)
@click.option(
    "--fps", type=click.FloatRange(0.1, 240), default=30.0, show_default=True, help="Cadence of each stream."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=5.0, show_default=True, help="Of each measurement."
)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Bare and daemon in turn."
)
@click.option(
    "--threads", callback=_threads, metavar="NUMBER|auto|latency|throughput",
    help="Inside a call, or by what it is to be chosen; without: the file's, or auto.",
)  # fmt: skip
@click.option("--runtime", type=click.Choice(get_args(RuntimeChoice)), help="Instead of the file's.")
@click.option(
    "--device", "devices", multiple=True, help="Instead of the file's, best first; may be given again."
)
@click.option("--precision", type=click.Choice(get_args(Precision)), help="Instead of the file's.")
@click.option(
    "--pin-threads/--no-pin-threads", default=None,
    help="Bind callers and engine threads, or not, instead of what the file says.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For machines, with the figures of every round.")
def bench_command(
    bundle: Path | None, config_path: Path | None, model: str | None, as_json: bool, **changes: Any
) -> int:
    """Measure the bare engine and a whole daemon in turn.

    BUNDLE, or the model of --config, on this box.

    Flat out and paced, one model by itself, one picture or window a call. Both get the same engine settings. The bare
    engine has one caller a stream, and is measured again with as many as the daemon has workers where that differs.
    """
    from edge_runtime.cli.bench.rounds import bench
    from edge_runtime.cli.bench.termination import end_children_on_sigterm

    order = _order(bundle, config_path, model, changes)
    with end_children_on_sigterm(), Progress() as progress:
        measured = count()

        def tell(part: str, parts: int) -> None:
            progress.begin("measuring", parts)
            progress.set(next(measured), part)

        report = bench(order, tell)
    if as_json:
        print_indented(report)
    else:
        click.echo(format_table(report))
    return 0


def _order(
    bundle: Path | None, config_path: Path | None, model: str | None, changes: dict[str, Any]
) -> "BenchOrder":
    """What the file says, or the defaults, and what the options change."""
    from pydantic import ValidationError

    from edge_runtime.cli.bench.rounds import BenchOrder, make_order
    from edge_runtime.config import load_config

    require_config(bundle, config_path, model=model)
    if config_path is not None:
        order = make_order(load_config(config_path, os.environ), config_path, model, bundle)
    else:
        assert bundle is not None
        order = BenchOrder(bundle)
    given = {name: value for name, value in changes.items() if value not in (None, ())}
    engine = {name: given.pop(name) for name in ENGINE_OPTIONS if name in given}
    try:
        changed = type(order.engine).model_validate({**order.engine.model_dump(), **engine})
    except ValidationError as err:
        raise click.UsageError("; ".join(one["msg"] for one in err.errors())) from err
    return replace(order, engine=changed, **given)


def _as_text(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures, those in milliseconds as text."""
    return figures | {name: format_ms(value) for name, value in figures.items() if "_ms_" in name}


def format_table(report: dict[str, Any]) -> str:
    """The report for a person."""
    callers, workers = report["callers"], report["workers"]
    head = [
        f"{report['bundle']} on {report['runs_on']}; {report['budget']}",
        f"{report['streams']} stream(s) of {report['inputs']}; paced: {report['fps']:g} frames/s each",
        f"bare engine: {callers} caller(s); daemon: {workers} worker(s); {report['intra']} thread(s) in a call",
    ]
    figures = [f"{'':28}{'bare engine':>12}{'daemon':>12}"]
    for label, suffix, *formats in FIGURES:
        measured = (_as_text(report["summary"][name + suffix]) for name in ("bare", "daemon"))
        cells = [text.format(**values) for text, values in zip(formats, measured, strict=True)]
        figures.append(f"{label:28}" + "".join(f"{cell:>12}" for cell in cells))
    sizes = {"": callers} if callers == workers else {"": callers, "_all": workers}
    rates = []
    for suffix, size in sizes.items():
        parts = (report["summary"][name + suffix.replace("_", " ")] for name in ("bare", "loop"))
        bare, loop = (f"{part['frames_per_s']:.1f} frames/s" for part in parts)
        rates.append(f"{size} caller(s): bare engine {bare}; with preparation in a loop {loop}")
    ratios = [
        f"{label.format(sizes[suffix]):52}{ratio['median']:6.2f}   ({ratio['low']:.2f} to {ratio['high']:.2f})"
        for name, suffix, label in RATIOS
        if suffix in sizes and (ratio := report["ratios"][name + suffix])
    ]
    return "\n".join([*head, "", *figures, "", *rates, "", *ratios])
