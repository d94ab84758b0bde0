"""A real daemon in a child process, measured from outside: its results file, its processor time, its memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import psutil

from edge_runtime.errors import EdgeRuntimeError

START_TIMEOUT_S = 120.0
SETTLE_S = 1.0
"""After the first result: threads, file caches and the drift monitor come to rest."""


class BenchError(EdgeRuntimeError):
    """The daemon under measurement ended or gave no result; the text says which, and holds its last words."""


def find_installed_environment() -> dict[str, str]:
    """The environment for a process whose start is measured: its modules stay compiled, as pip leaves them.

    With ``PYTHONDONTWRITEBYTECODE`` a working copy is compiled anew at every start (0.3 s).
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class RunningDaemon:
    """One daemon and the files it writes."""

    def __init__(self, config: Path, results: Path, log: Path, cpus: Collection[int] = ()) -> None:
        """Start it, bound to ``cpus`` if there are any, and wait for its first result.

        Raises:
            BenchError: it ended, or gave none in time.
        """
        self._results, self._log = results, log
        began_s = time.perf_counter()
        with log.open("wb") as out:
            command = [sys.executable, "-m", "edge_runtime", "run", str(config)]
            env = find_installed_environment()
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=env)
        if cpus:
            os.sched_setaffinity(self._process.pid, cpus)  # long before it has imported what looks at it
        try:
            self.first_result_s = self._first_result(began_s)
        except (
            BaseException
        ):  # also when the measurement is ended meanwhile: nobody else knows the process yet
            self.stop()
            raise

    def look(self, seconds: float) -> dict[str, Any]:
        """What it does in so many seconds: frames a second, timings of every result, CPU a frame, memory.

        Raises:
            BenchError: it gave no result meanwhile.
        """
        offset, cpu_s, began_s = self._size(), self.cpu_s(), time.perf_counter()
        time.sleep(seconds)
        end, used_s, took_s = self._size(), self.cpu_s() - cpu_s, time.perf_counter() - began_s
        timings = [result["timings_ms"] for result in self._between(offset, end)]
        if not timings:
            raise BenchError(f"the daemon gave no result in {seconds:g} s; {self._last_words()}")
        return {
            "frames_per_s": len(timings) / took_s,
            "timings_ms": timings,
            "cpu_ms_per_frame": 1000 * used_s / len(timings),
            "pss_mib": sum(process.memory_full_info().pss for process in self._tree()) / 2**20,
        }

    def idle_share(self, seconds: float) -> float:
        """Share of one core that it uses; meaningful while its cameras give nothing."""
        before_s, began_s = self.cpu_s(), time.perf_counter()
        time.sleep(seconds)
        return (self.cpu_s() - before_s) / (time.perf_counter() - began_s)

    def cpu_s(self) -> float:
        """Processor time of it and its children until now, user and system, seconds."""
        total = 0.0
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def stop(self) -> None:
        """End it, by force if need be."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _first_result(self, began_s: float) -> float:
        while not self._size():
            if (code := self._process.poll()) is not None:
                raise BenchError(f"the daemon ended with code {code}; {self._last_words()}")
            if time.perf_counter() - began_s > START_TIMEOUT_S:
                raise BenchError(f"no result within {START_TIMEOUT_S:g} s; {self._last_words()}")
            time.sleep(0.002)
        return time.perf_counter() - began_s

    def _size(self) -> int:
        return self._results.stat().st_size if self._results.exists() else 0

    def _between(self, offset: int, end: int) -> list[dict[str, Any]]:
        """Whole lines only: the first and the last may be cut."""
        with self._results.open("rb") as file:
            file.seek(offset)
            lines = file.read(end - offset).split(b"\n")
        found = [orjson.loads(line)["payload"] for line in lines[1:-1] if line]
        return [result for result in found if "timings_ms" in result]

    def _tree(self) -> list[psutil.Process]:
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def _last_words(self) -> str:
        words = self._log.read_text(errors="replace").strip().splitlines()
        return f"its log ends: {words[-1][:500]}" if words else "its log is empty"


@contextmanager
def run_daemon(config: dict[str, Any], folder: Path, cpus: Collection[int] = ()) -> Iterator[RunningDaemon]:
    """A daemon with this configuration, bound to ``cpus`` if there are any, ended afterwards.

    Raises:
        BenchError: it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, results = folder / "box.yaml", folder / "results.jsonl"
    results.unlink(missing_ok=True)
    sink = {"path": str(results), "max_mib": 1024}
    file.write_text(json.dumps({**config, "state_dir": str(folder / "state"), "sink": sink}))
    running = RunningDaemon(file, results, folder / "log.txt", cpus)
    try:
        time.sleep(SETTLE_S)
        yield running
    finally:
        running.stop()
