"""From the configuration to the servers: their views of the daemon, their callers, and the way to the models."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import structlog

from edge_runtime.config import Config
from edge_runtime.config.install_sources import parse_prefix
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.health import Health
from edge_runtime.daemon.listeners import Server
from edge_runtime.daemon.live_pictures import LivePictures
from edge_runtime.daemon.live_windows import LiveWindows
from edge_runtime.daemon.metrics import MetricsReader
from edge_runtime.daemon.object_events import ObjectEvents
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.snapshots import Snapshots
from edge_runtime.daemon.status import DaemonStatus, StatusReporter
from edge_runtime.daemon.trends import Trends
from edge_runtime.daemon.wiring.telemetry import KEY as TELEMETRY_KEY
from edge_runtime.daemon.wiring.telemetry import require_telemetry
from edge_runtime.datatypes import REQUESTS
from edge_runtime.deployment.reports import Reports
from edge_runtime.errors import ExtraMissing
from edge_runtime.grpc.server import KEY as GRPC_KEY
from edge_runtime.grpc.server import GrpcServer, require_grpc
from edge_runtime.http.server import HttpServer
from edge_runtime.messaging.asyncapi import DaemonTypes, describe
from edge_runtime.messaging.commands.port import CommandPort
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.serving.access import Access
from edge_runtime.serving.certificate import CertificateFiles
from edge_runtime.serving.picture_fetcher import KEY as FETCH_KEY
from edge_runtime.serving.picture_fetcher import NEEDED_FOR
from edge_runtime.serving.predict_service import PredictService
from edge_runtime.serving.predictions import Predictions, ServedModel
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.serving.token_files import TokenFiles
from edge_runtime.serving.wrong_tokens import WrongTokens
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.log import RECENT
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()


def make_servers(
    running: Running,
    reporter: StatusReporter,
    trends: Trends,
    cameras: Cameras,
    delivery: Delivery,
    snapshots: Snapshots,
    objects: ObjectEvents,
    port: CommandPort | None,
    certificate: CertificateFiles | None,
    crashes: Crashes,
    resources: ExitStack,
) -> dict[str, Server]:
    """The servers for HTTP and gRPC that are turned on, which do not listen yet.

    ``port`` obeys commands; None: they are turned off. ``certificate`` is that of all servers; None: nothing is
    encrypted. ``resources`` are closed when they have stopped.

    Raises:
        ExtraMissing: a library that one of them needs is not installed.
    """
    config = running.config
    if not config.http.enabled:
        return {}
    for _, missing in () if config.is_safe_mode else find_missing_extras(config):
        raise missing
    if config.http.why_closed is not None:
        log.warning(config.http.why_closed)
    wrong_tokens = WrongTokens()
    access = _make_access(config, wrong_tokens)
    predictions = Predictions(
        lambda: {name: ServedModel(one.pipeline, one.bundle) for name, one in dict(running.models).items()},
        lambda: running.is_stopping,
        lambda: SequenceNumbers(config.state_dir / "streams" / f"{REQUESTS}.seq"),
        config.http.predict.timeout_s,
        crashes,
    )
    resources.callback(predictions.stop)
    if port is not None:
        resources.callback(port.stop)
    predict = _make_predict(config, access, predictions, crashes)
    counts, calls = RequestCounts(), RequestCounts()
    metrics = MetricsReader(
        running,
        cameras,
        delivery,
        reporter,
        crashes,
        counts,
        calls,
        wrong_tokens,
        lambda: objects.skipped,
    )

    live = LivePictures(snapshots, LiveWindows(running, cameras), lambda: running.is_stopping)

    def application() -> Any:
        from edge_runtime.http.api import build_app
        from edge_runtime.http.commands import CommandService
        from edge_runtime.http.openapi import describe as describe_http
        from edge_runtime.http.pictures import PictureService

        return build_app(
            reporter.status,
            reporter.health,
            delivery.recent_results,
            delivery.recent_events,
            lambda: {name: Reports.of(config.state_dir, name) for name in running.config.models},
            lambda: describe(running.config, DaemonTypes(DaemonStatus, Health)),
            lambda: describe_http(DaemonStatus, Health),
            metrics.read,
            access,
            crashes,
            described=lambda: running.config,
            is_loopback=config.http.is_loopback,
            counts=counts,
            trends=trends.read,
            log=read_log,
            predict=predict,
            pictures=PictureService(live, crashes),
            feed=delivery,
            commands=CommandService(
                port, lambda: running.is_stopping, partial(secrets.token_urlsafe, 12), crashes
            ),
        )

    servers: dict[str, Server] = {
        "http": HttpServer(config.http.host, config.http.port, application, crashes, certificate)
    }
    if config.http.grpc_port is not None and not config.is_safe_mode:  # without models it has nothing to say
        servers["grpc"] = _make_grpc(
            config, config.http.grpc_port, predict, lambda: reporter.health().ready, calls, certificate
        )
    return servers


def find_missing_extras(config: Config) -> Iterator[tuple[str, ExtraMissing]]:
    """The keys that need a library which is not installed."""
    http = config.http
    needs: list[tuple[str, object, Callable[[], None]]] = [
        (GRPC_KEY, http.enabled and http.grpc_port, require_grpc),
        (FETCH_KEY, http.enabled and http.predict.fetch_from, _require_http_file),
        (TELEMETRY_KEY, config.telemetry, require_telemetry),
    ]
    for key, value, require in needs:
        if value:
            try:
                require()
            except ExtraMissing as err:
                yield key, err


def _require_http_file() -> None:
    from edge_runtime.bundles.travel.http_file import require_http_file  # only where pictures are fetched

    require_http_file(NEEDED_FOR)


def _make_grpc(
    config: Config,
    port: int,
    predict: PredictService,
    is_ready: Callable[[], bool],
    calls: RequestCounts,
    certificate: CertificateFiles | None,
) -> GrpcServer:
    def make_handler() -> Any:
        from edge_runtime.grpc.service import InferenceService

        return InferenceService(predict, is_ready, calls).make_handler()

    return GrpcServer(
        config.http.host,
        port,
        predict.max_body_bytes,
        make_handler,
        predict.crashes,
        certificate,
    )


def find_certificate(config: Config) -> CertificateFiles | None:
    """That of all servers; None where nothing is encrypted."""
    tls = config.http.tls
    return (
        None
        if tls is None or not config.http.enabled
        else CertificateFiles(tls.cert, tls.key, time.monotonic)
    )


def read_log(most: int) -> list[dict[str, str]]:
    """The newest lines of this process, newest first, without secrets, also those that were learnt since."""
    lines = RECENT.newest_with_levels(most)
    return [{"level": level, "text": PROCESS.text(line)} for level, line in reversed(lines)]


def _make_access(config: Config, wrong_tokens: WrongTokens) -> Access:
    has_callers = bool(config.http.tokens)
    tokens = TokenFiles(config.http.tokens, time.monotonic)
    tokens.holders()  # from now on no log shows them
    return Access(
        tokens.holders,
        needs_token=has_callers or not config.http.is_loopback,
        has_callers=has_callers,
        wrong_tokens=wrong_tokens,
    )


def _make_predict(
    config: Config, access: Access, predictions: Predictions, crashes: Crashes
) -> PredictService:
    predict = config.http.predict
    return PredictService.make(
        predictions,
        access,
        config.pictures.max_file_mib * 2**20,
        predict.queue,
        crashes,
        fetch_from=[parse_prefix(one) for one in predict.fetch_from],
        is_enabled=predict.enabled,
    )
