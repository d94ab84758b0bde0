"""All parts and the page ``docs/results/performance.md``: ``benchmarks run performance`` (``make bench``).

Each part runs alone, one after the other. Its rounds are stored as soon as they are measured, and joined with those
stored before: a busy box is measured in slices (``--parts peers --rounds 1``, again and again), and the page takes
medians over all. ``--fresh`` begins a part anew; ``--pages-only`` measures nothing.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from benchmarks.performance.page import page
from benchmarks.performance.parts import PARTS, Extent
from benchmarks.performance.plots import draw
from benchmarks.performance.stored import Occasion, Store, Stored
from edge_runtime.inference.engines.threads import cpu_budget

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/performance.md"
PACKAGES = ("onnxruntime", "openvino", "numpy", "opencv-python-headless", "simplejpeg", "paho-mqtt")


def facts(stored: Mapping[str, Stored]) -> dict[str, str]:
    """Machine, versions, commits, and how busy the box was when each part began."""
    versions = {name: _version(name) for name in PACKAGES}
    for one in stored.values():
        versions |= one.found.get("versions", {})
    occasions = [occasion for one in stored.values() for occasion in one.occasions]
    loads = ", ".join(
        f"{name} {max(occasion.load for occasion in one.occasions):.1f}" for name, one in stored.items()
    )
    return {
        "measured": ", ".join(sorted({one.date for one in occasions})),
        "commit": ", ".join(sorted({one.commit for one in occasions})),
        "machine": f"{_processor()}, {os.cpu_count()} CPUs; {cpu_budget().source}; Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items() if number),
        "rounds": ", ".join(
            f"{name} {len(one.found['rounds'])}" for name, one in stored.items() if "rounds" in one.found
        ),
        "largest load average of the minute before a part": loads,
    }


def find_commit() -> str:
    """Of this checkout; with a + when its code was changed since."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "edge_runtime", "calibration", "benchmarks")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return f"{names[0] if names else platform.processor()} ({platform.machine()})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@click.command()
@click.option("--quick", is_flag=True, help="One short round of everything, kept and shown apart.")
@click.option("--parts", default=",".join(PARTS), show_default=True, help="Only these, separated by commas.")
@click.option("--rounds", type=click.IntRange(1), help="To add to those stored; default: as many as usual.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length of one look.")
@click.option("--fresh", is_flag=True, help="Forget the rounds that these parts had.")
@click.option("--pages-only", is_flag=True, help="Measure nothing, only write the page again.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Keeps the figures; default: build/performance, or build/performance-quick.",
)
@click.option(
    "--page",
    "page_file",
    type=click.Path(path_type=Path),
    help=f"Default: {PAGE.relative_to(ROOT)}; of a quick run in its --work.",
)
@click.option(
    "--peers-python",
    type=click.Path(path_type=Path),
    default=Path(sys.executable),
    help="The interpreter that the peers are installed for.",
)
@click.option(
    "--inference-python", type=click.Path(path_type=Path), help="The interpreter with Roboflow's package."
)
def main(
    quick: bool,
    parts: str,
    rounds: int | None,
    seconds: float | None,
    fresh: bool,
    pages_only: bool,
    work: Path | None,
    page_file: Path | None,
    peers_python: Path,
    inference_python: Path | None,
) -> None:
    """Measure what was asked for, then write the page from everything stored."""
    wanted = [] if pages_only else [name.replace("-", " ") for name in parts.split(",")]
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        text = f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}"
        raise click.BadParameter(text, param_hint="--parts")
    folder = work or Path("build/performance-quick" if quick else "build/performance")
    store = Store(folder)
    extent = Extent(
        quick,
        rounds,
        seconds,
        peers_python.absolute(),
        inference_python=None if inference_python is None else inference_python.absolute(),
    )
    for name in wanted:
        click.echo(name, err=True)
        if fresh:
            store.forget(name)
        _measure(store, name, extent)
    target = page_file or (folder / "performance.md" if quick else PAGE)
    _write(target, store.read(PARTS))
    click.echo(f"written: {target}", err=True)


def _measure(store: Store, name: str, extent: Extent) -> None:
    occasion = Occasion(time.strftime("%Y-%m-%d"), find_commit(), round(os.getloadavg()[0], 2))
    store.add(name, PARTS[name](extent), occasion)


def _write(target: Path, stored: Mapping[str, Stored]) -> None:
    """The page, and its plots in the same folder."""
    found = {name: one.found for name, one in stored.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    plots = draw(found, target.parent, target.stem)
    target.write_text(page(found, facts(stored), plots), encoding="utf-8")
