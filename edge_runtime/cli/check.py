"""``edge-runtime check`` and ``schema``: the configuration file, without running it."""

import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.cli.check_certificate import look_at_certificate
from edge_runtime.cli.options import CONFIG, JSON, ONLY_JSON, OutputFile, print_answer
from edge_runtime.errors import ConfigError, EdgeRuntimeError, ExtraMissing, KeyUnusable, Problem, gravest

if TYPE_CHECKING:
    from edge_runtime.config import Config
    from edge_runtime.inference.specs import PreprocessSpec


@click.command()
@CONFIG
@JSON
def check(config: Path, as_json: bool) -> int:
    """Check a configuration file and the bundles it names.

    Nothing of CONFIG is run.

    All problems are listed, and what has no effect or is not there yet as notes. The exit code is that of the gravest.
    """
    found = check_config(config, os.environ)
    if as_json:
        print_answer({"config": str(config), **found.as_json()}, as_json, "")
        return found.exit_code
    notes = [f"note: {note}" for note in found.notes]
    if found.problems:
        heading = f"error: {config}: {len(found.problems)} problem(s)"
        click.echo("\n".join([heading, *(f"  {problem}" for problem in found.problems), *notes]), err=True)
    else:
        click.echo("\n".join([f"{config}: ok", *_describe_models(found), *notes]))
    return found.exit_code


def _describe_models(found: "Checked") -> list[str]:
    lines = []
    for name, one in found.models.items():
        chosen = (
            f" (the highest usable of versions {', '.join(map(str, one['versions']))})"
            if "versions" in one
            else ""
        )
        lines.append(f"  {name}: {one['bundle']}{chosen} on {one['runs_on']}")
        if "rollout" in one:
            lines.append(f"    a newer version {one['rollout']['text']}")
    return lines


@click.command()
@click.option("--out", type=OutputFile(), help="Write to this file instead of standard output.")
@ONLY_JSON
def schema(out: Path | None) -> int:
    """Print the JSON Schema of the configuration, for editors."""
    from edge_runtime.config.json_schema import schema_text

    if out is None:
        click.echo(schema_text(), nl=False)
    else:
        out.write_text(schema_text(), encoding="utf-8")
    return 0


@dataclass(slots=True)
class Checked:
    """Problems, notes, and the models that passed."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Bundle, engine, largest difference in the self-test, and where newer versions are tried the times of that."""
    problems: list[Problem | EdgeRuntimeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Facts that are no error but may be a mistake."""

    @property
    def exit_code(self) -> int:
        """The exit code of the gravest problem; 0 without one."""
        return gravest(map(_code_of, self.problems))

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        problems = []
        for one in self.problems:
            text = f"{one.found}; expected {one.expected}" if isinstance(one, Problem) else one.reason_text
            problems.append(
                {"where": one.where, "line": one.line, "problem": text, "exit_code": _code_of(one)}
            )
        return {"ok": not problems, "problems": problems, "notes": self.notes, "models": self.models}


def _code_of(one: Problem | EdgeRuntimeError) -> int:
    return ConfigError.exit_code if isinstance(one, Problem) else one.exit_code


def check_config(path: Path, env: Mapping[str, str]) -> Checked:
    """Read the file; if it is valid, open every model and look for the files and devices of its cameras."""
    from edge_runtime.config import load_config

    found = Checked()
    try:
        config = load_config(path, env)
    except ConfigError as err:
        found.problems.extend(err.problems)
        return found
    from edge_runtime.cli.check_sensors import note_memory_of_sensors
    from edge_runtime.deployment.open_bundle import open_bundle
    from edge_runtime.deployment.versions import read_versions
    from edge_runtime.inference.specs import find_obstacle_to_recalibration

    bad_keys, only_served = _look_at_keys(config), set[str]()
    specs: dict[str, PreprocessSpec] = {}
    for name in config.models:
        try:
            opened = open_bundle(config, name, may_write=False)
        except EdgeRuntimeError as err:
            if not (bad_keys and isinstance(err, KeyUnusable | ExtraMissing)):  # that names a key once more
                found.problems.append(err)
            continue
        opened.engine.close()
        found.notes += [f"models.{name}.{note}" for note in opened.notes]
        if opened.protection is not None and opened.protection.problem is not None:
            found.notes.append(f"models.{name}: {opened.protection.problem}")
        found.models[name] = {
            "bundle": opened.bundle.id,
            "self_test_difference": opened.self_test_difference,
            "runs_on": opened.engine.runs_on,
        }
        versions = sorted(read_versions(config.bundle_root(name)))
        if config.models[name].version == "latest" and len(versions) > 1:
            found.models[name]["versions"] = versions
        specs[name] = opened.bundle.manifest.preprocess
        if find_obstacle_to_recalibration(opened.bundle.manifest.preprocess) is not None:
            only_served.add(name)
        _look_at_rollout(config, name, found)
        found.notes += _notes_of_tracking(config, name, opened.bundle.manifest.postprocess.task)
    found.notes += _notes_of_recalibration(config, only_served)
    _look_at_streams(config, found)
    found.problems += bad_keys
    _look_at_libraries(config, found)
    found.notes += note_memory_of_sensors(config, specs)
    found.notes += _notes_of_home_assistant(config)
    found.notes += _notes_of_http(config)
    problems, notes = look_at_certificate(config)
    found.problems += problems
    found.notes += notes
    return found


def _look_at_rollout(config: "Config", name: str, found: Checked) -> None:
    """How long a newer version takes, by the frame rates of the configuration; known before the first one comes."""
    from edge_runtime.deployment.rollout_policy.plan import times_of
    from edge_runtime.deployment.start_record import has_rollout

    plan = config.models[name].rollout
    if plan is None:
        return
    if not has_rollout(config, name):
        found.notes.append(
            f"models.{name}.rollout: has no effect while 'version' is a number; set it to latest"
        )
        return
    streams = [stream for stream, one in config.streams.items() if one.model == name and one.enabled]
    fps, canary_fps = (
        _frame_rate(config, chosen)
        for chosen in (streams, [one for one in streams if one in plan.canary.streams])
    )
    found.models[name]["rollout"] = asdict(times_of(plan, fps, canary_fps))


def _notes_of_tracking(config: "Config", model: str, task: str) -> list[str]:
    if task == "detection":
        return []
    return [
        f"cameras.{name}.tracking: has no effect: model {model!r} is for {task} and finds no boxes; choose a detector"
        for name, camera in config.cameras.items()
        if camera.tracking is not None and camera.model == model
    ]


def _frame_rate(config: "Config", streams: Sequence[str]) -> float | None:
    """Frames a second of these streams together; None where one of them gives as many as it likes."""
    rates = [config.cameras[stream].fps if stream in config.cameras else None for stream in streams]
    return sum(rate for rate in rates if rate) if rates and all(rates) else None


def _look_at_streams(config: "Config", found: Checked) -> None:
    """A missing path is no error, since a share may be mounted and a device plugged in later; a wrong one is."""
    from edge_runtime.system.camera_address import CameraKind
    from edge_runtime.system.camera_path import look_at_path

    devices: dict[str, str] = {}
    for name, stream in config.streams.items():
        section = config.section_of(name)
        where = f"{section}.{name}.path"
        problem = look_at_path(stream.address) if stream.enabled else None
        if problem is not None and problem.is_lasting:
            line = config.line_of(section, name, "path")
            found.problems.append(Problem(where, line, problem.found, problem.expected))
        elif problem is not None:
            found.notes.append(f"{where}: {problem.found}; the {section[:-1]} waits for it")
    for name, camera in config.cameras.items():
        where = f"cameras.{name}.path"
        if camera.enabled and camera.address.kind is CameraKind.DEVICE:
            real = os.path.realpath(camera.path)
            if real in devices:
                found.notes.append(f"{where}: {camera.path} is the device of camera {devices[real]!r} now")
            devices.setdefault(real, name)


def _look_at_keys(config: "Config") -> list[Problem]:
    from edge_runtime.daemon.wiring.messaging import make_callers
    from edge_runtime.deployment.bundle_trust import require_trust_keys

    problems = list[Problem]()
    for look in (require_trust_keys, make_callers):
        try:
            look(config)
        except ConfigError as err:
            problems += err.problems
    return problems


def _notes_of_http(config: "Config") -> list[str]:
    why = config.http.why_closed
    return [] if why is None else [f"http: {why}"]


def _look_at_libraries(config: "Config", found: Checked) -> None:
    from edge_runtime.daemon.wiring.http import find_missing_extras

    for key, err in find_missing_extras(config):
        missing, expected = (
            "what it needs is not installed",
            f"pip install 'edge-runtime[{err.extra}]', or no such key",
        )
        found.problems.append(Problem(key, config.line_of(*key.split(".")), missing, expected))


def _notes_of_home_assistant(config: "Config") -> list[str]:
    from edge_runtime.messaging.home_assistant.entities import why_no_buttons

    if config.mqtt is None or config.mqtt.home_assistant is None:
        return []
    reason = why_no_buttons(config)
    return [] if reason is None else [f"mqtt.home_assistant: the device has no buttons, since {reason}"]


def _notes_of_recalibration(config: "Config", only_served: AbstractSet[str]) -> list[str]:
    """Whether recalibration is on and yet can never begin, since nothing here can record a baseline.

    ``only_served`` are models that no baseline would help.
    """
    from edge_runtime.deployment.model_state import ModelState, model_folder

    can_record = (
        config.recalibration.commission.automatic
        or (config.mqtt is not None and config.mqtt.commands)
        or (config.http.enabled and config.http.commands and bool(config.http.tokens))
    )
    without = [
        name
        for name, model in config.models.items()
        if model.recalibrate
        and name not in only_served
        and not any(ModelState(model_folder(config.state_dir, name)).baselines.glob("*"))
    ]
    if not config.recalibration.enabled or can_record or not without:
        return []
    way = (
        "mqtt.commands: true (and edge-runtime send commission), or recalibration.commission.automatic: true"
    )
    return [f"recalibration: {', '.join(without)} has no baseline and nothing here records one; set {way}"]
