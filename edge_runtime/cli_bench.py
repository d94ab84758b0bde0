"""The command ``edge-runtime bench``: parses, calls, prints. Registered by ``cli``."""

from pathlib import Path
from typing import Any

import click
import orjson


@click.command("bench")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of pictures; without it the golden ones as JPEGs of 1280 x 720.",
)  # fmt: skip
@click.option("--streams", type=click.IntRange(1, 64), default=1, show_default=True, help="Cameras.")
@click.option(
    "--fps", type=click.FloatRange(0.1, 240), default=30.0, show_default=True, help="Pace of each camera."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=5.0, show_default=True, help="Of each measurement."
)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Bare and daemon in turn."
)
@click.option(
    "--threads", type=click.IntRange(1, 256), help="Inside a call; without it the daemon's own choice."
)
@click.option("--json", "as_json", is_flag=True, help="For machines, with the figures of every round.")
def bench_command(
    bundle: Path,
    pictures: Path | None,
    streams: int,
    fps: float,
    seconds: float,
    rounds: int,
    threads: int | None,
    as_json: bool,
) -> int:
    """Measure BUNDLE on this box: the bare engine and a whole daemon in turn, flat out and paced."""
    from edge_runtime.bench.rounds import BenchOrder, bench

    order = BenchOrder(
        bundle, pictures, streams=streams, fps=fps, seconds=seconds, rounds=rounds, threads=threads
    )
    report = bench(order, progress=lambda line: click.echo(line, err=True))
    click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() if as_json else table(report))
    return 0


def table(report: dict[str, Any]) -> str:
    """The report for a person."""
    parts, ratios = report["summary"], report["ratios"]
    rows = [
        ("frames/s, flat out", "{frames_per_s:.1f}", "{frames_per_s:.1f}", ""),
        ("inference p50, ms", "{call_ms_p50:.1f}", "{infer_ms_p50:.1f}", " paced"),
        ("inference p99, ms", "{call_ms_p99:.1f}", "", " paced"),
        ("decode p50, ms", "", "{decode_ms_p50:.1f}", " paced"),
        ("capture to result p50, ms", "", "{total_ms_p50:.1f}", " paced"),
        ("capture to result p99, ms", "", "{total_ms_p99:.1f}", " paced"),
        ("CPU per frame, ms", "{cpu_ms_per_frame:.1f}", "{cpu_ms_per_frame:.1f}", " paced"),
        ("memory (PSS), MiB", "{pss_mib:.0f}", "{pss_mib:.0f}", ""),
        ("start to first result, s", "", "{first_result_s:.2f}", ""),
    ]
    lines = [
        f"{report['bundle']} on {report['runs_on']}; {report['budget']}",
        f"{report['streams']} stream(s) of {report['pictures']}; paced: {report['fps']:g} frames/s each",
        "",
        f"{'':28}{'bare engine':>12}{'daemon':>12}",
    ]
    for label, bare, whole, suffix in rows:
        cells = (bare.format(**parts["bare" + suffix]), whole.format(**parts["daemon" + suffix]))
        lines.append(f"{label:28}{cells[0]:>12}{cells[1]:>12}")
    loop = parts["loop"]["frames_per_s"]
    lines += ["", f"engine and picture code in one loop, without a daemon: {loop:.1f} frames/s"]
    words = {
        "frames_per_s": "daemon over bare engine, frames/s",
        "frames_per_s_over_loop": "daemon over engine and picture code in a loop",
        "paced_total_p99_over_infer_p50": "paced: capture-to-result p99 over bare p50",
        "paced_cpu_per_frame": "paced: CPU per frame over bare engine",
        "memory": "memory over bare engine",
    }
    lines.append("")
    for name, label in words.items():
        ratio = ratios[name]
        lines.append(f"{label:46}{ratio['median']:6.2f}   ({ratio['low']:.2f} to {ratio['high']:.2f})")
    return "\n".join(lines)
