"""A real Home Assistant core finds a box and commands it: ``python -m benchmarks run home-assistant --core PYTHON``.

PYTHON is that of an environment with ``homeassistant`` from PyPI (2024.12 or newer). At the first start it installs
what its integration MQTT needs; where it cannot reach a registry by itself, its log names the packages to install
before: ``paho-mqtt``, ``PyQRCode``, ``pyotp`` and ``home-assistant-frontend``. ``--detector`` and ``--video`` add a
street. Exit code 1: a step had another effect than it should.
"""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.performance.bare_runs import BUNDLE
from benchmarks.performance.peers.mqtt_load import broker
from benchmarks.rollout.faults import Fault
from benchmarks.rollout.versions import make_root, put_version
from edge_runtime.cli.bench.daemon import run_daemon

LONGEST_S = 120.0
EXPECTED = "No device components to cleanup"
"""Home Assistant's warning about the empty message, which comes when all entities are removed already."""
States = dict[str, dict[str, Any]]


class Core:
    """A Home Assistant core in a process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.version = str(self._read()["version"])

    def states(self) -> States:
        """By entity, ``state`` and attributes."""
        return self._ask({})

    def call(self, domain: str, service: str, entity: str) -> None:
        """As a person does by a click."""
        self._ask({"call": [domain, service, entity]})

    def wait(self, is_so: Callable[[States], Any]) -> bool:
        """Until the states are so; False after the longest time."""
        end_s = time.monotonic() + LONGEST_S
        while time.monotonic() < end_s:
            if is_so(self.states()):
                return True
            time.sleep(0.2)
        return False

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException("the Home Assistant core has ended; its log says why")
        return dict(json.loads(line))


@contextmanager
def run_core(python: Path, folder: Path, port: int) -> Iterator[Core]:
    """A core that knows one broker; its log is ``folder/log.txt``."""
    (folder / ".storage").mkdir(parents=True)
    (folder / "configuration.yaml").write_text("logger: {default: warning}\n")
    entry: dict[str, Any] = {
        "entry_id": "mqtt", "domain": "mqtt", "title": "MQTT", "source": "user", "unique_id": None,
        "version": 1, "minor_version": 2, "data": {"broker": "127.0.0.1", "port": port, "discovery": True},
        "options": {}, "disabled_by": None, "discovery_keys": {}, "subentries": [],
        "pref_disable_new_entities": False, "pref_disable_polling": False,
        "created_at": "2026-01-01T00:00:00+00:00", "modified_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    storage = {"version": 1, "minor_version": 4, "key": "core.config_entries", "data": {"entries": [entry]}}
    (folder / ".storage" / "core.config_entries").write_text(json.dumps(storage))
    command = [str(python), str(Path(__file__).with_name("core.py")), str(folder)]
    pipe = subprocess.PIPE
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=log, text=True, env={"HOME": str(folder)}
        )
    try:
        yield Core(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Street:
    """People whose events are looked at."""

    detector: Path
    video: Path


def configure(
    root: Path, port: int, cameras: int, *, is_on: bool = True, street: Street | None = None
) -> dict[str, Any]:
    """The box, with a rollout that asks a person."""
    rollout = {
        "shadow": {"frames": 10, "cpu": 1},
        "canary": {"frames": 5, "share": 0.3},
        "promote": "ask",
        "limits": {"latency_ratio": 100},
    }
    camera = {"path": "demo:conveyor", "model": "parts", "fps": 5, "snapshots": True}
    home = {"home_assistant": {"figures_every_s": 1}} if is_on else {}
    models: dict[str, Any] = {"parts": {"bundle": str(root), "rollout": rollout, "max_age_ms": None}}
    shown = dict.fromkeys(("belt", "gate")[:cameras], camera)
    if street is not None:
        models["people"] = {"bundle": str(street.detector), "recalibrate": False}
        tracking = {"pictures": True, "lost_s": 1, "update_every_s": 1}
        shown["street"] = {"path": str(street.video), "model": "people", "fps": 7, "loop": True, "snapshots": True,
                           "tracking": tracking}  # fmt: skip
    return {
        "device": "box",
        "models": models,
        "cameras": shown,
        "recalibration": {"commission": {"frames": 48, "automatic": True}, "on_drift": False},
        "drift": {"window_frames": 16, "sample_every_s": 0.05},
        "mqtt": {"host": "127.0.0.1", "port": port, "commands": True, **home},
        "http": {"enabled": False},
    }


def try_street(core: Core) -> Iterator[tuple[str, bool]]:
    """What becomes of people on a street, as steps of :func:`try_all`."""

    def has(kind: str) -> Callable[[States], bool]:
        return lambda states: states.get("event.box_street_object", {}).get("event_type") == kind

    def is_occupied(states: States) -> bool:
        return states.get("binary_sensor.box_street_occupancy", {}).get("state") == "on"

    yield "a person is new", core.wait(has("new"))
    found = core.states().get("event.box_street_object", {})
    yield "with label and box", found.get("label") == "person" and len(found.get("box", ())) == 4
    yield "the street is occupied", core.wait(is_occupied)
    yield "a person goes", core.wait(has("end"))
    yield "there is a picture", core.wait(lambda s: _is_known(s, "image.box_street_picture"))


def _is_known(states: States, entity: str) -> bool:
    return states.get(entity, {}).get("state") not in (None, "unknown", "unavailable")


def try_all(
    core: Core, root: Path, edit: Callable[[dict[str, Any]], None], port: int
) -> Iterator[tuple[str, bool]]:
    """Each step with whether it had the effect that it should have."""

    def update(states: States, **wanted: object) -> bool:
        found = states.get("update.box_parts_version", {})
        return all(found.get(key) == value for key, value in wanted.items())

    def has_event(*kinds: str) -> Callable[[States], bool]:
        return lambda states: states["event.box_event"].get("event_type") in kinds

    shown = (
        "belt_label",
        "gate_label",
        "belt_frames",
        "parts_latency_p50",
        "parts_generation",
        "parts_drift",
    )
    yield "entities have values", core.wait(lambda s: all(_is_known(s, f"sensor.box_{one}") for one in shown))
    problem = core.states().get("binary_sensor.box_problem", {})
    yield "the problem has its reasons", isinstance(problem.get("reasons"), list)
    yield "there is a picture of a camera", core.wait(lambda s: _is_known(s, "image.box_belt_picture"))
    core.call("button", "press", "button.box_parts_recalibrate")
    yield "recalibrate is obeyed", core.wait(has_event("refused", "recalibrated"))
    put_version(BUNDLE, root, 2, Fault.NONE)
    yield "an update comes", core.wait(lambda s: update(s, latest_version="2", in_progress=True))
    yield "it waits for a person", core.wait(lambda s: update(s, latest_version="2", in_progress=False))
    core.call("update", "install", "update.box_parts_version")
    yield "it is installed", core.wait(lambda s: update(s, latest_version="2", in_progress=True))
    core.call("button", "press", "button.box_parts_abort_update")
    yield "it is taken back", core.wait(has_event("version_refused"))
    edit(configure(root, port, 1))
    yield (
        "a camera is gone",
        core.wait(lambda s: "sensor.box_gate_label" not in s and "sensor.box_belt_label" in s),
    )
    edit(configure(root, port, 1, is_on=False))
    yield "turned off nothing is left", core.wait(lambda s: not any(".box_" in entity for entity in s))


@click.command()
@click.option("--core", "python", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--detector", type=click.Path(path_type=Path, exists=True), help="A bundle that finds persons.")
@click.option("--video", type=click.Path(path_type=Path, exists=True), help="A street, for --detector.")
def main(python: Path, detector: Path | None, video: Path | None) -> None:
    """Print each step and the warnings about messages; exit with 1 when one is not as it should be."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "broker").mkdir()
        root = make_root(folder, BUNDLE)
        put_version(BUNDLE, root, 1, Fault.NONE)
        with broker(folder / "broker") as port, run_core(python, folder / "core", port) as core:
            click.echo(f"Home Assistant {core.version}")
            street = None if detector is None or video is None else Street(detector, video)
            with run_daemon(configure(root, port, 2, street=street), folder / "box"):
                steps = [] if street is None else list(try_street(core))
                steps += list(
                    try_all(core, root, lambda config: _edit(folder / "box" / "box.yaml", config), port)
                )
        log = (folder / "core" / "log.txt").read_text()
    warnings = re.findall(r"(?:WARNING|ERROR).*components\.mqtt.*", log)
    others = [line for line in warnings if EXPECTED not in line]
    click.echo("\n".join([*(f"{'ok' if is_ok else 'FAILED':<7} {name}" for name, is_ok in steps), *others]))
    if others or not all(is_ok for _, is_ok in steps):
        raise SystemExit(1)


def _edit(file: Path, config: dict[str, Any]) -> None:
    """Replace the file, with the keys that are the bench's."""
    before, draft = json.loads(file.read_text()), file.with_suffix(".new")
    draft.write_text(json.dumps({**config, "state_dir": before["state_dir"], "sink": before["sink"]}))
    draft.replace(file)
