"""All parts and the page ``docs/results/performance.md``: ``benchmarks run performance`` (``make bench``).

Each part runs alone, one after the other, and is stored as soon as it is measured, so that a part can be measured again
(``--parts``) or the page only written again (``--pages-only``).
"""

import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from benchmarks.performance.page import page
from benchmarks.performance.parts import PARTS, Extent
from edge_runtime.inference.engines.threads import cpu_budget

PAGE = Path(__file__).parents[2] / "docs/results/performance.md"
PACKAGES = ("onnxruntime", "openvino", "numpy", "opencv-python-headless", "simplejpeg", "paho-mqtt")
PEER_PACKAGES = ("mosec", "litserve", "mlserver")


def facts(stored: dict[str, Any]) -> dict[str, str]:
    """Machine, versions, and how busy the box was when each part began."""
    versions = [f"{name} {_version(name)}" for name in (*PACKAGES, *PEER_PACKAGES)]
    loads = ", ".join(f"{name} {one['load']:.1f}" for name, one in stored.items())
    return {
        "measured": ", ".join(sorted({one["date"] for one in stored.values()})),
        "machine": f"{_processor()}, {os.cpu_count()} CPUs; {cpu_budget().source}; Python {platform.python_version()}",
        "versions": ", ".join(one for one in versions if not one.endswith(" ")),
        "load average of the minute before a part": loads,
    }


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
@click.option("--quick", is_flag=True, help="One short round of everything.")
@click.option("--parts", default=",".join(PARTS), show_default=True, help="Only these, separated by commas.")
@click.option("--pages-only", is_flag=True, help="Measure nothing, only write the page again.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("build/performance"),
    show_default=True,
    help="Keeps the figures.",
)
@click.option("--page", "page_file", type=click.Path(path_type=Path), default=PAGE)
@click.option(
    "--peers-python",
    type=click.Path(path_type=Path),
    default=Path(sys.executable),
    help="The interpreter that the peers are installed for.",
)
def main(quick: bool, parts: str, pages_only: bool, work: Path, page_file: Path, peers_python: Path) -> None:
    """Measure what was asked for, then write the page from everything stored."""
    wanted = [] if pages_only else [name.replace("-", " ") for name in parts.split(",")]
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        text = f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}"
        raise click.BadParameter(text, param_hint="--parts")
    work.mkdir(parents=True, exist_ok=True)
    extent = Extent(quick, peers_python=peers_python.absolute())
    for name in wanted:
        click.echo(name, err=True)
        _store(work, name, extent)
    stored = {name: json.loads(_file(work, name).read_text()) for name in PARTS if _file(work, name).exists()}
    found = {name: one["found"] for name, one in stored.items()}
    page_file.write_text(page(found, facts(stored)), encoding="utf-8")
    click.echo(f"written: {page_file}", err=True)


def _store(work: Path, name: str, extent: Extent) -> None:
    load = os.getloadavg()[0]
    stored = {"date": time.strftime("%Y-%m-%d"), "load": load, "found": PARTS[name](extent)}
    _file(work, name).write_text(json.dumps(stored))


def _file(work: Path, name: str) -> Path:
    return work / f"{name.replace(' ', '-')}.json"
