"""The demo: the daemon on a conveyor of real photographs that drifts half-way, and a summary of what it did about it.

It is the ordinary daemon with an ordinary configuration; only the conveyor's options and the state folder are set
from the command line.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.cli.demo.agreement import Agreement, AnswerLog, CompareTop, measure_agreement
from edge_runtime.cli.free_port import find_free_port
from edge_runtime.cli.offline import make_answer_function
from edge_runtime.cli.run_summary import summarise, summarise_as_json
from edge_runtime.config import CameraConfig, Config, DemoConfig, HttpConfig
from edge_runtime.daemon.wiring.daemon import build_daemon, stop_on_signals
from edge_runtime.daemon.wiring.sources import open_demo_camera
from edge_runtime.datatypes import Frame, Rejected
from edge_runtime.deployment.open_bundle import load_model_bundle
from edge_runtime.inference.engines.threads import choose_threads, cpu_budget
from edge_runtime.system.camera_address import CameraKind

COMPARED_FRAMES = 150  # per phase; about 2 s of work, and a standard error of 4 points


def apply_demo_options(config: Config, state_dir: Path, http: HttpConfig, **options: Any) -> Config:
    """The configuration with another state folder and port, and the conveyors' options replaced."""
    cameras = {
        stream: camera.model_copy(update={"demo": (camera.demo or DemoConfig()).model_copy(update=options)})
        if camera.address.kind is CameraKind.DEMO
        else camera
        for stream, camera in config.cameras.items()
    }
    return config.model_copy(update={"cameras": cameras, "state_dir": state_dir, "http": http})


def _choose_http(http: HttpConfig) -> HttpConfig:
    """With a port that is free now: a demo is for looking at, wherever it is."""
    if not http.enabled:
        return http
    port = find_free_port(http.host, http.port)
    taken = f" ({http.port} is taken)" if port != http.port else ""
    place = f"[{http.host}]" if ":" in http.host else http.host
    click.echo(f"status page: http://{place}:{port}/{taken}", err=True)
    return http.model_copy(update={"port": port})


def run_demo(
    config: Config,
    config_path: Path,
    for_s: float | None,
    drift: str | None,
    *,
    only: str | None,
    as_json: bool,
) -> int:
    """Run the daemon on a fresh state folder, then print the summary; gives the exit code."""
    options: dict[str, Any] = {"drift": drift, "only": only}
    if for_s is not None:
        options["drift_at_s"] = for_s / 2
    with tempfile.TemporaryDirectory(prefix="edge-runtime-demo-", ignore_cleanup_errors=True) as folder:
        adjust = partial(
            apply_demo_options, state_dir=Path(folder), http=_choose_http(config.http), **options
        )
        return _run(config, config_path, for_s, adjust, as_json=as_json)


def _run(
    config: Config,
    config_path: Path,
    for_s: float | None,
    adjust: Callable[[Config], Config],
    *,
    as_json: bool,
) -> int:
    adjusted = adjust(config)
    conveyors = {
        name: camera for name, camera in adjusted.cameras.items() if camera.address.kind is CameraKind.DEMO
    }
    answers = AnswerLog(frozenset(conveyors))
    daemon = build_daemon(config, config_path, adjust=adjust, on_result=answers.add)
    stop_on_signals(daemon)
    code = daemon.run(for_s)
    status = daemon.reporter.status()
    compared = [_compared(adjusted, stream, camera, answers) for stream, camera in conveyors.items()]
    write = summarise_as_json if as_json else summarise
    print(write(status, daemon.reporter.history(), [entry for entry in compared if entry is not None]))
    return code


def _compared(config: Config, stream: str, camera: CameraConfig, answers: AnswerLog) -> Agreement | None:
    if camera.demo is None or camera.demo.drift is None:
        return None
    first_drifted = camera.demo.drift_at_s * (camera.fps or 10.0)
    return measure_agreement(
        stream,
        answers.of(stream),
        lambda seq: seq >= first_drifted,
        open_base_model(config, stream, camera),
        COMPARED_FRAMES,
        np.random.default_rng(0),
    )


def open_base_model(config: Config, stream: str, camera: CameraConfig) -> CompareTop:
    """A function that answers any frame of a demo camera, with or without its drift, by the unpatched model."""
    bundle = load_model_bundle(config, camera.model)
    answer = make_answer_function(bundle, open_bundle_engine(bundle, choose_threads(cpu_budget(), 1)))
    demo_camera = open_demo_camera(stream, camera, first_seq=0)

    def base_top(seq: int, drifted: bool) -> int | None:
        found = answer(Frame(stream, seq, demo_camera.frame(seq, drifted=drifted), 0.0, 0.0))
        return None if isinstance(found, Rejected) or not found.top else int(found.top[0].index)

    return base_top
