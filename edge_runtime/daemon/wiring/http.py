"""From the configuration to the HTTP server: its views of the daemon, its callers, and the way to the models."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import structlog

from edge_runtime.config import Config
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.health import Health
from edge_runtime.daemon.live_pictures import LivePictures
from edge_runtime.daemon.metrics import MetricsReader
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.snapshots import Snapshots
from edge_runtime.daemon.status import DaemonStatus, StatusReporter
from edge_runtime.daemon.trends import Trends
from edge_runtime.datatypes import REQUESTS
from edge_runtime.deployment.reports import Reports
from edge_runtime.http.request_counts import RequestCounts
from edge_runtime.http.server import HttpServer
from edge_runtime.messaging.asyncapi import DaemonTypes, describe
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.serving.access import Access
from edge_runtime.serving.predictions import Predictions, ServedModel
from edge_runtime.serving.token_files import TokenFiles
from edge_runtime.serving.wrong_tokens import WrongTokens
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes

if TYPE_CHECKING:
    from edge_runtime.serving.predict_service import PredictService

log = structlog.get_logger()


def make_http(
    running: Running,
    reporter: StatusReporter,
    trends: Trends,
    cameras: Cameras,
    delivery: Delivery,
    snapshots: Snapshots,
    crashes: Crashes,
    resources: ExitStack,
) -> HttpServer | None:
    """The HTTP server, which does not listen yet; None when it is turned off.

    ``resources`` are closed when it has stopped.
    """
    config = running.config
    if not config.http.enabled:
        return None
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
    counts = RequestCounts()

    def application() -> Any:
        from edge_runtime.http.api import build_app
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
            MetricsReader(running, cameras, delivery, reporter, crashes, counts, wrong_tokens).read,
            access,
            crashes,
            is_loopback=config.http.is_loopback,
            counts=counts,
            trends=trends.read,
            predict=_make_predict(config, access, predictions, crashes),
            pictures=PictureService(LivePictures(snapshots, lambda: running.is_stopping), crashes),
        )

    return HttpServer(config.http.host, config.http.port, application, crashes)


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
) -> "PredictService":
    from edge_runtime.serving.predict_service import PredictService

    predict = config.http.predict
    return PredictService.make(
        predictions,
        access,
        config.pictures.max_file_mib * 2**20,
        predict.queue,
        crashes,
        is_enabled=predict.enabled,
    )
