"""All topics, side by side, each with the same end: a box that hangs somewhere is what a doctor is called for."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.bundles.verify import read_manifest
from edge_runtime.cli.doctor.broker import examine_broker
from edge_runtime.cli.doctor.cameras import examine_camera, examine_sensor
from edge_runtime.cli.doctor.clock import examine_clock
from edge_runtime.cli.doctor.configuration import examine_configuration
from edge_runtime.cli.doctor.engines import ALL, examine_engine
from edge_runtime.cli.doctor.finding import Finding, note, problem
from edge_runtime.cli.doctor.patches import examine_baselines, examine_patch
from edge_runtime.cli.doctor.port import examine_health, examine_port
from edge_runtime.cli.doctor.processor import examine_memory, examine_processor
from edge_runtime.cli.doctor.service import Unit, ask_systemd, examine_service, find_unit_user
from edge_runtime.cli.doctor.service_user import ServiceUser
from edge_runtime.cli.doctor.state_folder import examine_state
from edge_runtime.config import Config, load_address, load_config, secrets_of
from edge_runtime.deployment.bundle_trust import find_trust
from edge_runtime.deployment.open_bundle import find_engine_settings
from edge_runtime.deployment.start_record import read_starts
from edge_runtime.deployment.versions import list_candidates
from edge_runtime.errors import ConfigError, EdgeRuntimeError, ExitCode
from edge_runtime.inference.engines.factory import choose_runtime
from edge_runtime.system.model_formats import Runtime
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.state_lock import find_holder
from edge_runtime.system.supervised_thread import Crashes

MOST_S = 13.5
"""For everything behind the start of the program; a child gets a little less, so that its end is told."""
_CHILD_S, _PICTURE_S = 10.5, 8.0

_MOST_PICTURES = 8
"""Each takes a process with OpenCV."""

Topic = Callable[[], Iterable[Finding]]


def examine(path: Path | None, env: Mapping[str, str], user_name: str | None) -> list[Finding]:
    """Look at the box, and with ``path`` at what this configuration names.

    Raises:
        KeyError: there is no such user.
    """
    end_s = time.monotonic() + MOST_S
    topics = _list_topics(path, env, user_name)  # this asks systemd and reads files
    return run_topics(topics, end_s - time.monotonic())


def run_topics(topics: Mapping[str, Topic], most_s: float) -> list[Finding]:
    """The findings of all topics in their order; a topic that does not end in time is a note."""
    crashes, found = Crashes(), dict[str, list[Finding]]()

    def look(name: str, topic: Topic) -> None:
        with crashes.contain(f"doctor-{name}"):
            found[name] = list(topic())

    threads = {
        name: threading.Thread(target=look, args=(name, topic), daemon=True) for name, topic in topics.items()
    }
    for thread in threads.values():
        thread.start()
    end_s = time.monotonic() + most_s
    for thread in threads.values():
        thread.join(max(0.0, end_s - time.monotonic()))
    return [
        one for name, thread in threads.items() for one in _collect(name, found.get(name), thread, most_s)
    ]


def _collect(
    name: str, found: list[Finding] | None, thread: threading.Thread, most_s: float
) -> Iterator[Finding]:
    if found is not None:
        yield from found
    elif thread.is_alive():
        yield note(
            "doctor.slow", f"{name}: no answer in {most_s:.0f} s", "run it again when the box is less busy"
        )
    else:
        yield problem(
            "doctor.failed", f"{name}: an error of this program, see above", "report it", ExitCode.SOFTWARE
        )


def _list_topics(path: Path | None, env: Mapping[str, str], user_name: str | None) -> dict[str, Topic]:
    config, topics = None, dict[str, Topic]()
    if path is not None:
        with suppress(ConfigError):  # the topic of the configuration lists them all
            config = load_config(path, env)
            PROCESS.learn(secrets_of(config, env))
    ask = cache(ask_systemd)  # once, whatever it takes
    holder = find_holder(config.state_dir) if config is not None else None
    user = ServiceUser.find(user_name or (find_unit_user(ask()) if holder is None else None), holder)
    topics["processor"], topics["memory"] = partial(examine_processor, user.pid), examine_memory
    manifests = _read_manifests(config) if config is not None else {}
    needed = _find_runtimes(config, manifests) if config is not None else {}
    for runtime in ALL if path is None else needed:
        topics[f"engine {runtime}"] = partial(
            examine_engine, runtime, tuple(needed.get(runtime, ())), _CHILD_S
        )
    folders = [Path(__file__).parents[2]]
    if path is not None:
        topics["configuration"] = partial(examine_configuration, path, _CHILD_S)
        folders.append(path.resolve().parent)
        with suppress(ConfigError):
            address = load_address(path, env)
            if address.mqtt is not None:
                topics["broker"] = partial(examine_broker, address.device, address.mqtt)
    if config is not None:
        folders.append(config.state_dir)
        topics |= _list_topics_of(config, manifests, user, ask)
    topics["clock"] = partial(examine_clock, folders)
    return topics


def _list_topics_of(
    config: Config, manifests: Mapping[str, Manifest], user: ServiceUser, ask: Callable[[], Unit]
) -> dict[str, Topic]:
    topics: dict[str, Topic] = {
        "state": partial(examine_state, config, user),
        "port": partial(examine_port, config, user.pid),
        "health": partial(examine_health, config),
        "service": partial(examine_service, config, ask),
    }
    enabled = [name for name, camera in config.cameras.items() if camera.enabled]
    for number, name in enumerate(enabled):
        picture_s = _PICTURE_S if number < _MOST_PICTURES else 0.0
        topics[f"camera {name}"] = partial(examine_camera, config, name, user, picture_s)
    for name, sensor in config.sensors.items():
        if sensor.enabled:
            topics[f"sensor {name}"] = partial(examine_sensor, config, name, user)
    for name in config.models:
        if name in manifests:
            topics[f"patch of {name}"] = partial(examine_patch, config.state_dir, name, manifests[name].id)
        topics[f"baselines of {name}"] = partial(
            examine_baselines, config.state_dir, name, manifests.get(name)
        )
    return topics


def _read_manifests(config: Config) -> dict[str, Manifest]:
    """Of the version that each model starts with; without those that cannot be read, which are found by the check."""
    found: dict[str, Manifest] = {}
    for name, model in config.models.items():
        with suppress(EdgeRuntimeError):
            starts = read_starts(config, name, may_write=False)
            folder = list_candidates(config.bundle_root(name), model.version, starts.order)[0]
            found[name] = read_manifest(folder, find_trust(config, name))
    return found


def _find_runtimes(config: Config, manifests: Mapping[str, Manifest]) -> dict[Runtime, list[str]]:
    """The models by the library that runs them."""
    needed: dict[Runtime, list[str]] = {}
    for name, manifest in manifests.items():
        with suppress(EdgeRuntimeError):  # one that cannot run the format: found by the check
            runtime = choose_runtime(manifest.format, find_engine_settings(config, name))
            needed.setdefault(runtime, []).append(name)
    return needed
