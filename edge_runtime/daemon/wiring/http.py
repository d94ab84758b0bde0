"""From the configuration to the HTTP server: its views of the daemon, its callers, and the way to the models."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import structlog

from edge_runtime.config import Config
from edge_runtime.config.http_requests import read_token
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
from edge_runtime.messaging.asyncapi import describe
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.serving.predictions import Predictions, ServedModel
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.supervised_thread import Crashes

if TYPE_CHECKING:
    from edge_runtime.serving.access import Access
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
    tokens = read_tokens(config)
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

        access = _make_access(config, tokens)
        return build_app(
            reporter.status,
            reporter.health,
            delivery.recent_results,
            delivery.recent_events,
            lambda: {name: Reports.of(config.state_dir, name) for name in running.config.models},
            lambda: describe(running.config),
            lambda: describe_http(DaemonStatus, Health),
            MetricsReader(running, cameras, delivery, reporter, crashes, counts).read,
            crashes,
            is_loopback=config.http.is_loopback,
            counts=counts,
            trends=trends.read,
            predict=_make_predict(config, access, predictions, crashes),
            pictures=PictureService(LivePictures(snapshots, lambda: running.is_stopping), access, crashes),
        )

    return HttpServer(config.http.host, config.http.port, application, crashes)


def read_tokens(config: Config) -> dict[str, str]:
    """The tokens of the callers by their names; no log shows them from then on.

    A caller whose file cannot be read, as may be in safe mode, is left out: he has no rights, and the others theirs.
    """
    found = {}
    for name, one in config.http.tokens.items():
        try:
            found[name] = read_token(one.file)
        except (OSError, ValueError) as err:
            log.error("a caller over HTTP has no token", caller=name, file=str(one.file), reason=str(err))
    PROCESS.learn(found.values())
    return found


def _make_access(config: Config, tokens: dict[str, str]) -> "Access":
    from edge_runtime.serving.access import Access, TokenHolder, hash_token

    callers = config.http.tokens
    holders = tuple(
        TokenHolder(name, Role.of(callers[name].role), hash_token(token)) for name, token in tokens.items()
    )
    return Access(holders, needs_token=bool(callers) or not config.http.is_loopback)


def _make_predict(
    config: Config, access: "Access", predictions: Predictions, crashes: Crashes
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
