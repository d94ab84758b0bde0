"""All benches of speed and the page ``docs/results/performance.md``: ``benchmarks run performance`` (``make bench``).

Each part runs alone, one after the other, and is stored as soon as it is measured, so that a part can be measured again
(``--parts``) or the page only written again (``--pages-only``).
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.performance import page
from benchmarks.performance.bare_runs import BUNDLE, capacity, pictures_in
from benchmarks.performance.daemon import arrival, beside, int8, quiet, quota
from benchmarks.performance.peers import comparison
from benchmarks.performance.swaps import hot_swap
from edge_runtime.cli.bench.rounds import BenchOrder, bench
from edge_runtime.inference.engines.threads import Preference, cpu_budget

PAGE = Path(__file__).parents[2] / "docs/results/performance.md"
PACKAGES = ("onnxruntime", "openvino", "numpy", "opencv-python-headless", "simplejpeg", "paho-mqtt")
PEER_PACKAGES = ("mosec", "litserve", "mlserver")


def parts(quick: bool, peers_python: Path) -> dict[str, Callable[[Path], Any]]:
    """What there is to measure; each gets an empty folder."""
    rounds, seconds = (1, 2.0) if quick else (3, 4.0)
    return {
        "one stream": lambda folder: _bench(folder, 1, rounds, seconds),
        "two streams": lambda folder: _bench(folder, 2, rounds, seconds),
        "arrival": lambda _: arrival.measure(rounds=rounds, seconds=max(5.0, seconds)),
        "peers": lambda _: {
            "rounds": [comparison.one_round(peers_python, seconds, n) for n in range(rounds)]
        },
        "hot swap": lambda _: hot_swap.measure(quick=quick),
        "beside": lambda _: beside.measure(rounds=1 if quick else 2, count=32 if quick else beside.COUNT),
        "quiet": lambda _: quiet.measure(rounds=rounds, seconds=max(3.0, seconds)),
        "quota": lambda _: quota.measure(rounds=rounds, seconds=seconds),
        "int8": lambda _: int8.measure(rounds=2 * rounds + 1),
    }


def _bench(folder: Path, streams: int, rounds: int, seconds: float) -> Any:
    """``edge-runtime bench`` round by round, each with what two callers got out of the box just before.

    One stream runs with one thread in a call: its pictures are decoded on the other core meanwhile.
    """
    pictures = pictures_in(folder / "pictures")
    threads: int | Preference = 1 if streams == 1 else "auto"
    order = BenchOrder(BUNDLE, streams=streams, threads=threads, rounds=1, seconds=seconds)
    return {
        "rounds": [
            {
                "capacity": capacity(BUNDLE, pictures),
                "report": bench(order, lambda line: print(f"  {line}", file=sys.stderr)),
            }
            for _ in range(rounds)
        ]
    }


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


def main() -> None:
    """Measure what was asked for, then write the page from everything stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--parts", help="only these, separated by commas")
    parser.add_argument("--pages-only", action="store_true", help="measure nothing")
    parser.add_argument(
        "--work", type=Path, default=Path("build/performance"), help="where the figures are kept"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument(
        "--peers-python",
        type=lambda given: Path(given).absolute(),
        default=Path(sys.executable),
        help="where the peers are",
    )
    asked = parser.parse_args()
    known = parts(asked.quick, asked.peers_python)
    wanted = [] if asked.pages_only else asked.parts.split(",") if asked.parts else list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(known)}")
    asked.work.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        print(name, file=sys.stderr)
        _store(asked.work, name, known[name])
    stored = {
        name: json.loads(_file(asked.work, name).read_text())
        for name in known
        if _file(asked.work, name).exists()
    }
    found = {name: one["found"] for name, one in stored.items()}
    asked.page.write_text(page.page(found, facts(stored)), encoding="utf-8")
    print(f"written: {asked.page}", file=sys.stderr)


def _store(work: Path, name: str, measure: Callable[[Path], Any]) -> None:
    import tempfile

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="performance-") as folder:
        found = measure(Path(folder))
    stored = {"date": time.strftime("%Y-%m-%d"), "load": load, "found": found}
    _file(work, name).write_text(json.dumps(stored))


def _file(work: Path, name: str) -> Path:
    return work / f"{name.replace(' ', '-')}.json"


if __name__ == "__main__":
    main()
