"""Composition root: the only file that names concrete engines, sources and destinations, and puts them together.

``build_daemon`` wires everything from a configuration; ``open_model`` makes one model's runtime, from verified bundle
to side loop. No policy lives here. Called by the command line.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from cronsim import CronSim

from calibration.errors import CalibrationError
from edge_runtime.bundle.self_test import self_test
from edge_runtime.bundle.verify import Bundle, load_bundle
from edge_runtime.cameras import Cameras
from edge_runtime.command_link import CommandLink
from edge_runtime.commands import CommandDesk, CommandPolicy
from edge_runtime.config import CameraConfig, Config, DriftConfig, MqttConfig, secrets_of
from edge_runtime.config_watch import ConfigWatch
from edge_runtime.daemon import Daemon, DaemonParts
from edge_runtime.delivery import Channel, Delivery
from edge_runtime.drift_watch import DriftWatch
from edge_runtime.engine_slot import EngineSlot
from edge_runtime.engines.base import Engine
from edge_runtime.engines.onnx_engine import OnnxEngine
from edge_runtime.engines.threads import ThreadPlan, choose_threads, cpu_budget
from edge_runtime.errors import BundleError, EngineError, StateError
from edge_runtime.generations import Generations
from edge_runtime.http import HttpServer
from edge_runtime.job_process import JobProcess
from edge_runtime.log import configure_log
from edge_runtime.messages import Result
from edge_runtime.model_runtime import ModelRuntime
from edge_runtime.mqtt import MqttClient
from edge_runtime.mqtt_settings import MqttSettings, TlsSettings
from edge_runtime.outbox import Outbox, OutboxLimits
from edge_runtime.pipeline import Pipeline, PipelineParts
from edge_runtime.postprocess import Postprocessor
from edge_runtime.preprocess import Preprocessor
from edge_runtime.publisher import Publisher
from edge_runtime.recalibration import SideLoop, SideLoopParts
from edge_runtime.registry import Registry
from edge_runtime.rollout import Generation, Rollout
from edge_runtime.schedule import BatchPolicy, Schedule
from edge_runtime.sink import FileSink, MqttSink
from edge_runtime.sources.base import Source
from edge_runtime.sources.conveyor import ConveyorOptions, ConveyorSource
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.mqtt_images import MqttImagesSource, PictureInbox
from edge_runtime.sources.video import VideoSource
from edge_runtime.sources.video_options import VideoOptions
from edge_runtime.systemd_notify import SystemdNotify
from edge_runtime.topics import Topics
from edge_runtime.workers import Crashes, InferenceWorker

log = structlog.get_logger()

DEMO_PICTURES = Path(__file__).parent / "demo" / "pictures"
NO_AGE_LIMIT_S = 1e9


def build_daemon(
    loaded: Config,
    config_path: Path | None,
    *,
    adjust: Callable[[Config], Config] = lambda config: config,
    on_result: Callable[[Result], None] = lambda _: None,
) -> Daemon:
    """A daemon that has not started yet.

    Args:
        loaded: What to run, as the file says.
        config_path: The file to watch for edits; None watches nothing.
        adjust: Applied to it and to every edited configuration (the demo's options).
        on_result: Sees every result, in the inference worker's thread.

    Raises:
        ConfigError: the broker's settings cannot be used.
        StateError: the state directory cannot be used.
    """
    config = adjust(loaded)
    crashes = Crashes(on_fatal=lambda reason: daemon.fail(reason))  # noqa: PLW0108 - made below
    topics = Topics(config.mqtt.prefix if config.mqtt else "edge", config.device)
    mqtt = None if config.mqtt is None else MqttClient(mqtt_settings(config.device, config.mqtt))
    delivery = Delivery(config.device, topics, _channels(config, mqtt), on_result)
    watch = None if config_path is None else ConfigWatch(
        config_path, os.environ, current=loaded,
        on_change=lambda edited: daemon.edited(adjust(edited)), on_error=lambda err: daemon.edited(err),  # noqa: PLW0108 - made below
    )  # fmt: skip
    parts = DaemonParts(
        open_model=partial(open_model, delivery=delivery, crashes=crashes),
        batch_policy=batch_policy,
        configure_log=_configure_log,
        cameras=Cameras(
            partial(open_source, mqtt=mqtt, topics=topics), config.state_dir / "streams", crashes
        ),
        delivery=delivery,
        mqtt=mqtt,
        open_commands=lambda new, owner: _open_commands(new, owner, mqtt, topics),
        open_http=_open_http,
        watch=watch,
        notify=SystemdNotify(os.environ),
        crashes=crashes,
    )
    daemon = Daemon(config, parts)
    return daemon


def _configure_log(config: Config) -> None:
    configure_log(config.log.level, config.log.format, secrets=secrets_of(config, os.environ))


def stop_on_signals(daemon: Daemon) -> None:
    """SIGTERM and SIGINT drain and end the daemon."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())


# ---- models ------------------------------------------------------------------------------------------------


def find_bundle(root: Path, version: str | int) -> Path:
    """The folder of one version below a bundle's root, or the root itself when it is one.

    Raises:
        BundleError: there is none.
    """
    if (root / "bundle.yaml").is_file():
        return root
    found = {int(path.name): path for path in root.glob("*/") if path.name.isdigit()} if root.is_dir() else {}
    if not found or (version != "latest" and version not in found):
        have = ", ".join(str(number) for number in sorted(found)) or "none"
        raise BundleError(root, f"versions there: {have}", f"version {version}", "Copy the bundle there.")
    return found[max(found) if version == "latest" else int(version)]


def open_engine(bundle: Bundle, model: bytes, plan: ThreadPlan) -> Engine:
    """A warm engine for the bundle's format.

    Raises:
        EngineError: the engine refuses the model, or the format has no engine here.
    """
    if bundle.manifest.format != "onnx":
        raise EngineError(f"{bundle.id}: no engine for format {bundle.manifest.format!r}; expected onnx")
    engine = OnnxEngine(model, plan)
    engine.warm_up()
    return engine


def open_model(config: Config, name: str, *, delivery: Delivery, crashes: Crashes) -> ModelRuntime:
    """Load, self-test and wire one model; nothing runs yet.

    Raises:
        BundleError: damaged, unsafe, or it does not do what it promises.
        EngineError: the engine refuses it.
        StateError: its state cannot be read or written.
    """
    model = config.models[name]
    bundle = load_bundle(find_bundle(config.bundle_root(name), model.version))
    cameras = [camera for camera in config.cameras.values() if camera.model == name and camera.enabled]
    plan = choose_threads(cpu_budget(), len(cameras), model.threads)
    preprocessor = Preprocessor(bundle.manifest.preprocess)
    base = open_engine(bundle, bundle.model_bytes, plan)
    self_test(bundle, base)
    registry = Registry.open(config.state_dir, name)
    rollout, engine = _restored(registry, bundle, plan, base)
    slot = EngineSlot(rollout.active, engine)
    side_loop = _open_side_loop(config, name, bundle, plan, registry, rollout, slot, delivery)
    parts = PipelineParts(
        device=config.device,
        model=name,
        preprocessor=preprocessor,
        schedule=Schedule(batch_policy(config, name)),
        slot=slot,
        postprocessor=Postprocessor(bundle.manifest, bundle.labels),
        deliver=delivery.result,
        observer=side_loop,
        on_engine_error=lambda err: log.error("inference failed", model=name, reason=str(err)),
        clock=time.monotonic,
    )
    pipeline = Pipeline(parts)
    workers = tuple(InferenceWorker(f"infer-{name}-{i}", pipeline, crashes) for i in range(plan.workers))
    return ModelRuntime(name, bundle, plan, pipeline, workers, side_loop)


def batch_policy(config: Config, name: str) -> BatchPolicy:
    """The schedule's limits from the configuration."""
    model = config.models[name]
    return BatchPolicy(
        max_batch_size=model.batch.max_batch_size,
        max_queue_delay_s=model.batch.max_queue_delay_ms / 1000,
        max_age_s=NO_AGE_LIMIT_S if model.max_age_ms is None else model.max_age_ms / 1000,
        queue_limit=model.queue_frames,
    )


def _restored(registry: Registry, bundle: Bundle, plan: ThreadPlan, base: Engine) -> tuple[Rollout, Engine]:
    """The generation that was active before the restart; the base when it cannot be restored."""
    rollout = registry.rollout(bundle.id)
    if rollout.active.patch is None:
        return rollout, base
    try:
        engine = open_engine(bundle, registry.patched_model(rollout.active.patch), plan)
    except (StateError, EngineError) as err:
        log.error("patch not restored, the base is used", bundle=bundle.id, reason=str(err))
        return Rollout(Generation(bundle.id)), base
    base.close()
    return rollout, engine


def _open_side_loop(
    config: Config,
    name: str,
    bundle: Bundle,
    plan: ThreadPlan,
    registry: Registry,
    rollout: Rollout,
    slot: EngineSlot,
    delivery: Delivery,
) -> SideLoop | None:
    if not config.models[name].recalibrate or bundle.manifest.format != "onnx":
        return None
    generations = Generations(
        rollout,
        slot,
        registry,
        lambda model: open_engine(bundle, bundle.model_bytes if model is None else model, plan),
    )
    return SideLoop(
        SideLoopParts(
            model=name,
            bundle_path=bundle.path,
            generations=generations,
            registry=registry,
            settings=config.recalibration,
            drift=config.drift,
            open_watch=partial(_open_watch, bundle=bundle),
            next_due_wall_s=_next_due_wall_s,
            start_job=JobProcess.start,
            emit=delivery.event,
            clock=time.monotonic,
            wall_clock=time.time,
        )
    )


def _open_watch(registry: Registry, drift: DriftConfig, *, bundle: Bundle) -> DriftWatch | None:
    """The drift watch of the stored baseline; None, with the reason in the log, when there is none that fits."""
    if not registry.baseline.is_file():
        return None
    try:
        probe = OnnxEngine(registry.probe.read_bytes(), threads=1)
        expected = bundle.manifest.files[bundle.manifest.model]
        axis = 0 if bundle.manifest.preprocess.layout == "nchw" else 2
        return DriftWatch.open(
            registry.baseline, expected, probe, drift, np.random.default_rng(0), channel_axis=axis
        )
    except (CalibrationError, EngineError, OSError) as err:
        log.error("baseline not usable, commission again", path=str(registry.baseline), reason=str(err))
        return None


def _next_due_wall_s(schedule: str | None, after_wall_s: float) -> float | None:
    if schedule is None:
        return None
    from datetime import datetime

    local = datetime.fromtimestamp(after_wall_s).astimezone()
    return float(next(CronSim(schedule, local)).timestamp())


# ---- sources -----------------------------------------------------------------------------------------------


def open_source(
    stream: str, camera: CameraConfig, first_seq: int, *, mqtt: MqttClient | None, topics: Topics
) -> Source:
    """The source of one camera section.

    Raises:
        SourceLost: it cannot be opened now.
    """
    match camera.kind:
        case "conveyor":
            return open_conveyor(stream, camera)
        case "mqtt":
            assert mqtt is not None, "the configuration was checked: path mqtt needs a section mqtt"
            inbox = PictureInbox()
            mqtt.subscribe(
                topics.picture(stream),
                lambda message: (
                    None if message.is_retained else inbox.offer(message.payload, time.monotonic())
                ),
            )
            return MqttImagesSource(stream, inbox, first_seq=first_seq)
        case "file" if Path(camera.path).is_dir():
            return ImagesSource(
                stream,
                Path(camera.path),
                fps=None if camera.pace == "fastest" else camera.fps,
                loop=camera.loop,
                watch=camera.watch,
                first_seq=first_seq,
            )
        case _:
            return VideoSource(stream, camera.path, _video_options(camera), first_seq=first_seq)


def open_conveyor(stream: str, camera: CameraConfig) -> ConveyorSource:
    """The demo's conveyor of photographs; its sequence numbers are frame indices and always begin at 0."""
    demo = camera.demo
    options: dict[str, Any] = {"fps": camera.fps or 10.0}
    if demo is not None:
        options |= {
            "seed": demo.seed,
            "one_class": demo.one_class,
            "drift": demo.drift,
            "drift_at_s": demo.drift_at_s,
            "severity": demo.severity,
        }
    folder = demo.pictures if demo is not None and demo.pictures is not None else DEMO_PICTURES
    return ConveyorSource(stream, folder, ConveyorOptions(**options))


def _video_options(camera: CameraConfig) -> VideoOptions:
    return VideoOptions(
        fps=camera.fps,
        # In the configuration fps is a file's pace; for a camera it is a limit.
        pace="fps" if camera.kind == "file" and camera.fps and camera.pace == "native" else camera.pace,
        loop=camera.loop,
        transport=camera.transport,
        open_timeout_s=camera.open_timeout_s,
        stall_timeout_s=camera.stall_timeout_s,
    )


# ---- destinations, commands, http --------------------------------------------------------------------------


def _channels(config: Config, mqtt: MqttClient | None) -> list[Channel]:
    """One durable channel per destination: the broker, the local file, or both."""
    limits = OutboxLimits(max_bytes=config.outbox.max_mib * 2**20, max_age_s=config.outbox.max_age_h * 3600)
    channels = []
    if mqtt is not None:
        outbox = Outbox(config.state_dir / "outbox.db", limits)
        channels.append(Channel("mqtt", outbox, Publisher(outbox, MqttSink(mqtt), live_first=True)))
    path = config.sink_path()
    if path is not None:
        max_mib = config.sink.max_mib if config.sink is not None else 64
        outbox = Outbox(config.state_dir / "outbox-file.db", limits)
        sink = FileSink(path, max_bytes=max_mib * 2**20 // 3)  # the file and two rotated ones
        channels.append(Channel("file", outbox, Publisher(outbox, sink)))
    return channels


def mqtt_settings(device: str, mqtt: MqttConfig) -> MqttSettings:
    """The broker section as what the client takes.

    Raises:
        ConfigError: a value cannot be used.
    """
    tls = None if mqtt.tls is None else TlsSettings(ca=mqtt.tls.ca, cert=mqtt.tls.cert, key=mqtt.tls.key)
    return MqttSettings(
        host=mqtt.host,
        device=device,
        port=mqtt.effective_port,
        user=mqtt.user,
        password=mqtt.password_text(),
        tls=tls,
        prefix=mqtt.prefix,
        keepalive_s=mqtt.keepalive_s,
        max_inflight=mqtt.inflight,
    )


def _open_commands(
    config: Config, daemon: Daemon, mqtt: MqttClient | None, topics: Topics
) -> CommandLink | None:
    if mqtt is None:
        return None
    handlers = {
        "status": lambda _: daemon.status(),
        "rollback": lambda asked: daemon.request("rollback", asked.model),
        "recalibrate": lambda asked: daemon.request("recalibrate", asked.model, asked.stream),
        "commission": lambda asked: daemon.request("commission", asked.model, asked.stream, asked.frames),
    }
    is_enabled = config.mqtt is not None and config.mqtt.commands
    return CommandLink(mqtt, CommandDesk(handlers, CommandPolicy(is_enabled=is_enabled)), topics)


def _open_http(config: Config, daemon: Daemon) -> HttpServer | None:
    if not config.http.enabled:
        return None

    def application() -> Any:
        from edge_runtime.http.api import build_app

        delivery = daemon.delivery
        names = {} if config.http.is_loopback else {"allowed_hosts": ["*"]}
        return build_app(
            daemon.status,
            daemon.health,
            delivery.recent_results,
            recent_events=delivery.recent_events,
            **names,
        )

    server = HttpServer(config.http.host, config.http.port, application)
    server.start()
    return server
