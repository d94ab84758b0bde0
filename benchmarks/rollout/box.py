"""A daemon with one camera and one model whose newer versions are rolled out, looked at from outside."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import orjson

from edge_runtime.system.rfc3339 import parse_rfc3339

WAIT_S = 300.0
MODEL, CAMERA = "model", "camera"
_POLL_S = 0.05


class NoAnswer(Exception):
    """The daemon did not do in time what it should; the text has its last words."""


class RolloutBox:
    """The folder of a box, its configuration and its daemon."""

    def __init__(
        self,
        folder: Path,
        bundles: Path,
        camera: dict[str, Any],
        rollout: dict[str, Any],
        **model_keys: Any,
    ) -> None:
        """Nothing runs yet.

        Args:
            folder: New; for the state, the log and the configuration.
            bundles: Folder of the versions.
            camera: Its section of the configuration, without the model.
            rollout: The section of that name.
            model_keys: Further keys of the model.
        """
        folder.mkdir(parents=True)
        self._folder, self._state = folder, folder / "state"
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._port = int(server.getsockname()[1])
        model = {"bundle": str(bundles), "rollout": rollout, "recalibrate": False}
        model |= {"max_age_ms": None, "queue_frames": 256, **model_keys}
        config = {
            "device": "bench",
            "state_dir": str(self._state),
            "models": {MODEL: model},
            "cameras": {CAMERA: {**camera, "model": MODEL}},
            "http": {"port": self._port},
            "sink": {"path": str(folder / "results.jsonl"), "max_mib": 1024},
        }
        (folder / "box.yaml").write_text(json.dumps(config))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cpus: Collection[int] = ()) -> None:
        """Start it, bound to ``cpus`` if there are any, and wait until it answers frames.

        Raises:
            NoAnswer: it ended, or gave no result in time.
        """
        with (self._folder / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", "edge_runtime", "run", str(self._folder / "box.yaml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if cpus:
            os.sched_setaffinity(self._process.pid, cpus)  # long before it has imported what looks at it
        self.wait(lambda: self._get("/readyz") is not None and self.model_status()["batches"] > 0)

    def kill(self) -> None:
        """As a lost power supply does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it, by force if need be."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait(self, condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
        """Until the condition is true.

        Raises:
            NoAnswer: it was not in time, or the daemon ended.
        """
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert self._process is not None
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                words = (self._folder / "log.txt").read_text(errors="replace").strip().splitlines()[-3:]
                raise NoAnswer(f"{self.rollout()}; its log ends: {' | '.join(words)[:1500]}")
            time.sleep(_POLL_S)

    def model_status(self) -> dict[str, Any]:
        """What ``/status`` says of the model; with 0 batches while it says nothing."""
        status = self._get("/status")
        found: dict[str, Any] = {"batches": 0} if status is None else status["models"][MODEL]
        return found

    def rollout(self) -> dict[str, Any]:
        """The part about versions."""
        return self.model_status().get("rollout") or {}

    def steps(self, version: int) -> list[dict[str, Any]]:
        """Every step of a version's way, oldest first, from the history on the disk."""
        path = self._state / "models" / MODEL / "rollouts.json"
        found = orjson.loads(path.read_bytes()) if path.exists() else []
        return [step for step in found if step["bundle"].endswith(f"/{version}")]

    def results(self) -> list[dict[str, Any]]:
        """Every published result, in order; each with ``at_wall_s``, when it was published."""
        whole = (self._folder / "results.jsonl").read_bytes().rpartition(b"\n")[0]
        found = [orjson.loads(line)["payload"] for line in whole.splitlines()]
        results = [one for one in found if "timings_ms" in one]
        for one in results:
            one["at_wall_s"] = parse_rfc3339(one["captured_at"]) + one["timings_ms"]["total"] / 1000
        return results

    def lost(self) -> int:
        """Frames that the model got since its start and that have no result, those under way aside."""
        least, deadline_s = 10**9, time.monotonic() + 5.0
        while least > 0 and time.monotonic() < deadline_s:
            status = self.model_status()
            least = min(
                [least, *(one["frames"] - one["results"] for one in status.get("streams", {}).values())]
            )
        return least

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10.0) as answer:
                return orjson.loads(answer.read())
        except (OSError, ValueError):  # not there yet, not ready, or cut short
            return None
