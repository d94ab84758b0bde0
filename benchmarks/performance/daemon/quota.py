"""Under a quota of one CPU on a box with more: threads as the daemon chooses them against threads set by hand.

``benchmarks run quota``. The quota is ``systemd-run --scope -p CPUQuota=100%`` where systemd runs, else a
control group made by hand (version 2 or 1), else nothing is measured.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.performance.bare_runs import BUNDLE, Report, pictures_in
from benchmarks.performance.daemon.quiet import daemon_config
from edge_runtime.cli.bench.daemon import run_daemon

FPS = 30.0
WAYS: tuple[tuple[str, int | None], ...] = (("auto", None), ("1 by hand", 1), ("2 by hand", 2))
PERIOD_US = 100_000
ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu"))


def measure(*, rounds: int, seconds: float) -> Report:
    """p99 from capture to outbox at 30 frames/s, in turns; ``unavailable`` says why there is no quota here."""
    inner = [sys.executable, "-m", __name__, str(rounds), str(seconds)]
    if Path("/run/systemd/system").is_dir():
        command = ["systemd-run", "--scope", "--quiet", "-p", "CPUQuota=100%", *inner]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    else:
        with _group() as group:
            if group is None:
                return {"unavailable": "no systemd, and no control group for CPU can be made here"}
            # The shell joins the group, and everything started by it is in the group from its first moment.
            script = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
            command = ["sh", "-c", script, "sh", *inner]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        return {"unavailable": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"}
    found: Report = json.loads(done.stdout)
    return found


@contextmanager
def _group() -> Iterator[Path | None]:
    """A control group with a quota of one CPU; None where it is not allowed."""
    for root in ROOTS:
        group = root / f"edge-runtime-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in (("cpu.max", f"{PERIOD_US} {PERIOD_US}"), ("cpu.cfs_quota_us", str(PERIOD_US))):
                if (group / name).exists():
                    (group / name).write_text(text)
                    yield group
                    return
        finally:
            group.rmdir()
    yield None


def inside(rounds: int, seconds: float) -> Report:
    """The measurement itself, run under the quota."""
    found: Report = {"rounds": []}
    with tempfile.TemporaryDirectory(prefix="quota-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", BUNDLE)
        camera = {"path": str(pictures[0].parent), "loop": True, "fps": FPS}
        for number in range(rounds):
            row = {}
            for way, threads in WAYS:
                with run_daemon(
                    daemon_config(BUNDLE, camera, threads), folder / f"{number}-{way}"
                ) as running:
                    timings = running.look(seconds)["timings_ms"]
                row[way] = float(np.percentile([one["total"] for one in timings], 99))
            found["rounds"].append(row)
    return found


if __name__ == "__main__":
    print(json.dumps(inside(rounds=int(sys.argv[1]), seconds=float(sys.argv[2]))))
