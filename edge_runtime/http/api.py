"""The HTTP application: views of functions, which must be quick and callable from any thread, and requests for answers.

No state and no decisions here. Importing this module imports starlette (0.1 s), so only the server's thread does it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.deployment.reports import Reports
from edge_runtime.http.allowed_hosts import LoopbackOnly
from edge_runtime.http.answers import FRESH, answer_json, guard, refuse
from edge_runtime.http.commands import CommandService, make_command_routes
from edge_runtime.http.count_requests import CountRequests
from edge_runtime.http.dashboard import make_dashboard_views
from edge_runtime.http.document import show_document
from edge_runtime.http.http_access import HttpAccess, caller_of
from edge_runtime.http.identify import Identify
from edge_runtime.http.live import make_live_route
from edge_runtime.http.login import make_session_route
from edge_runtime.http.metric_samples import Sample
from edge_runtime.http.oip import make_oip_routes
from edge_runtime.http.parameters import AFTER, MOST, SPAN_S
from edge_runtime.http.pictures import PictureService, PictureTaker, make_picture_route
from edge_runtime.http.predict import make_predict_routes
from edge_runtime.http.preview import make_preview_route
from edge_runtime.http.result_events import ResultFeed, make_result_events_route
from edge_runtime.http.windows import make_window_route
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.serving.access import Access
from edge_runtime.serving.predict_service import PredictService
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes

if TYPE_CHECKING:
    from edge_runtime.http.prometheus import Exposition


class HealthVerdict(Protocol):
    """The fields of a verdict that ``/healthz`` and ``/readyz`` read; the answer has all of them."""

    @property
    def live(self) -> bool:
        """Whether a restart would not help."""

    @property
    def ready(self) -> bool:
        """Whether it may be relied on."""


Items = Callable[[int], list[dict[str, Any]]]
View = Callable[[Request], Response]

REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""A report page needs its style and its pictures; it runs no script."""


def build_app(
    status: Callable[[], object],
    health: Callable[[], HealthVerdict],
    results: Items,
    events: Items,
    reports: Callable[[], Mapping[str, Reports]],
    describe: Callable[[], object],
    describe_http: Callable[[], object],
    metrics: Callable[[], Iterable[Sample]],
    access: Access,
    crashes: Crashes,
    *,
    described: Callable[[], object] = lambda: None,
    is_loopback: bool = True,
    counts: RequestCounts | None = None,
    trends: Callable[[float, int], object] | None = None,
    log: Items | None = None,
    predict: PredictService | None = None,
    pictures: PictureService | None = None,
    feed: ResultFeed | None = None,
    commands: CommandService | None = None,
) -> Starlette:
    """The ASGI application.

    Args:
        status: The daemon's state, a dataclass or a dictionary.
        health: The verdict of now, a dataclass: ``live``, ``ready`` and the reasons.
        results: The newest results, newest first, at most so many.
        events: The newest events in the same way.
        reports: Reports of recalibrations, by model.
        describe: The AsyncAPI document of the device.
        describe_http: The OpenAPI document of this application.
        metrics: Every metric of now.
        access: Who may ask for something.
        crashes: Counts views that fail.
        described: The object that ``describe`` describes. Its document is made again when this is another object.
        is_loopback: Only requests that address this machine itself are answered.
        counts: Counts the requests.
        trends: Figures over time: of the last so many seconds, behind a step; None: there is no address for that.
        log: The newest lines of the log, newest first, at most so many; None: there is no address for that.
        predict: Answers pictures that are sent; None: there are no addresses for that.
        pictures: Gives pictures of cameras; None: there are no addresses for that.
        feed: Gives results as they come; None: there is no address for that.
        commands: Hands commands on; None: there is no address for that.
    """
    views: dict[str, View] = {
        **make_dashboard_views(),
        "/healthz": partial(_show_verdict, health, attrgetter("live")),
        "/readyz": partial(_show_verdict, health, attrgetter("ready")),
        "/status": lambda _: answer_json(status()),
        "/results": partial(_show_items, "results", results),
        "/events": partial(_show_items, "events", events),
        "/reports": partial(_show_items, "reports", lambda most: _summarise(reports(), most)),
        "/metrics": _make_metrics(metrics),
        "/reports/{model}/{report}": partial(_show_report, reports),
    }
    if log is not None:
        views["/log"] = partial(_show_items, "log", log)
    if trends is not None:
        views["/trends"] = partial(_show_trends, trends)
    # First, since it is asked for most often: each route before it costs a comparison.
    routes = [] if pictures is None else _make_picture_routes(pictures, results)
    routes += [Route(path, _make_endpoint(view, crashes)) for path, view in views.items()]
    documents = {
        "/asyncapi.json": show_document(lambda: encode_object(describe()), described),
        "/config-schema.json": show_document(_make_schema),
        "/openapi.json": show_document(lambda: encode_object(describe_http())),
    }
    routes += [Route(path, guard(crashes, "http-view", show)) for path, show in documents.items()]
    http_access = HttpAccess(access)
    routes.append(make_session_route(http_access, crashes))
    if feed is not None:
        routes.append(make_result_events_route(feed, crashes))
    if predict is not None:
        routes += [*make_predict_routes(predict), *make_oip_routes(predict, lambda: health().ready)]
    if commands is not None:
        routes += make_command_routes(commands)
    middleware = [] if counts is None else [Middleware(CountRequests, counts, routes)]
    middleware += [Middleware(LoopbackOnly)] if is_loopback else []
    middleware.append(Middleware(Identify, http_access))
    return Starlette(
        routes=routes, middleware=middleware, exception_handlers={HTTPException: _show_http_error}
    )


def _make_picture_routes(pictures: PictureService, results: Items) -> list[Route]:
    taker, crashes = PictureTaker(pictures.source), pictures.crashes
    return [
        make_live_route(taker, results, crashes),
        make_picture_route(taker, crashes),
        make_preview_route(taker, crashes),
        make_window_route(taker, crashes),
    ]


def _make_endpoint(view: View, crashes: Crashes) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint around a view; a view that fails is counted and answers 500, and the connection stays open."""

    async def endpoint(request: Request) -> Response:
        with crashes.contain("http-view"):
            try:
                return view(request)
            except Refusal as refusal:
                return await refuse(request, refusal)
        return answer_json({"error": "this view failed; the log says why"}, 500)

    return endpoint


def _show_http_error(_: Request, error: Exception) -> Response:
    """No such address, or not with this method."""
    assert isinstance(error, HTTPException)
    return answer_json({"error": error.detail}, error.status_code, error.headers)


def _make_metrics(read: Callable[[], Iterable[Sample]]) -> View:
    @cache
    def make_exposition() -> "Exposition":
        from edge_runtime.http.prometheus import Exposition  # its import is paid by who scrapes

        return Exposition(read)

    def show(request: Request) -> Response:
        page, content_type = make_exposition().render(request.headers.get("accept", ""))
        return Response(page, 200, {**FRESH, "Content-Type": content_type})

    return show


def _make_schema() -> bytes:
    """Of the configuration file."""
    from edge_runtime.config.json_schema import schema_text  # its import is paid by who asks for it

    return schema_text().encode()


def _show_verdict(
    health: Callable[[], HealthVerdict], is_good: Callable[[HealthVerdict], bool], request: Request
) -> Response:
    """200 or 503, either way with the reasons for who may read them: addresses and names are in them."""
    verdict = health()
    told = {"live": verdict.live, "ready": verdict.ready} if caller_of(request) is None else verdict
    return answer_json(told, 200 if is_good(verdict) else 503)


def _show_items(name: str, items: Items, request: Request) -> Response:
    return answer_json({name: items(MOST.read(request))})


def _show_trends(trends: Callable[[float, int], object], request: Request) -> Response:
    return answer_json(trends(float(SPAN_S.read(request)), AFTER.read(request)))


def _summarise(reports: Mapping[str, Reports], most: int) -> list[dict[str, Any]]:
    """The newest reports of all models in short form, newest first."""
    found = [
        {
            "id": f"{model}/{report_id}",
            "at": format_rfc3339(_seconds(figures.get("at"))),
            "accepted": figures.get("accepted"),
            "candidate": figures.get("candidate"),
            "dry_run": figures.get("dry_run", False),
            "reasons": figures.get("reasons"),
            "page": f"/reports/{model}/{report_id}" if kept.has_page(report_id) else None,
        }
        for model, kept in reports.items()
        for report_id in kept.list_ids()
        if (figures := kept.read_figures(report_id)) is not None
    ]
    return PROCESS.value(sorted(found, key=lambda one: str(one["at"]), reverse=True)[:most])


def _seconds(value: object) -> float:
    """Of a report's file; 0 for what is no number."""
    try:
        return float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0


def _show_report(reports: Callable[[], Mapping[str, Reports]], request: Request) -> Response:
    """One page; with ``.json`` after the id, its figures."""
    name = request.path_params["report"]
    kept = reports().get(request.path_params["model"])
    if kept is not None and name.endswith(".json"):
        figures = kept.read_figures(name.removesuffix(".json"))
        return (
            answer_json({"error": "no such report"}, 404)
            if figures is None
            else answer_json(PROCESS.value(figures))
        )
    page = None if kept is None else kept.read_page(name)
    if page is None:
        return answer_json({"error": "no such report; /reports lists them"}, 404)
    page = PROCESS.value(page)
    headers = {"Content-Security-Policy": REPORT_POLICY, "Referrer-Policy": "no-referrer", **FRESH}
    return Response(page, 200, headers, "text/html; charset=utf-8")
