import errno
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import structlog
import uvicorn

from edge_runtime.daemon.health import Health
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.deployment.reports import Reports
from edge_runtime.http.api import build_app
from edge_runtime.http.dashboard import POLICY
from edge_runtime.http.metric_samples import Metric
from edge_runtime.http.openapi import describe
from edge_runtime.http.server import HttpServer
from edge_runtime.serving.access import Access
from edge_runtime.serving.listener import PortUnavailable
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.system.redaction import Redactor
from edge_runtime.system.supervised_thread import Crashes
from tests.support.http_contract import Contract
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

STATUS: dict[str, Any] = {
    "device": "belt-<b>3",
    "uptime_s": 61.5,
    "models": {
        "parts": {
            "generation": "parts/4+p17",
            "infer_ms": {"p50": 7.8, "p99": np.float32(9.5)},
            "total_ms": None,
            "streams": {"belt": {"frames": 120, "results": 118, "rejected": {"truncated": 2}}},
            "recalibration": {
                "commissioned": True,
                "drift": {"score": 0.31, "threshold": 0.2, "drifted": True, "verdict": "sensor"},
                "accepted": 1,
                "refused": 0,
                "failed": 0,
                "last_report": {
                    "accepted": True,
                    "candidate": "input",
                    "reasons": ["Agreement rose to 0.93."],
                },
            },
        }
    },
    "delivery": {"local": {"enqueued": 118, "delivered": 100, "pending": 18, "dropped": 0, "problem": None}},
}


FRAMES = Metric("frames", "counter", "Frames.", ("stream",))


class Daemon:
    """What the HTTP side sees of a daemon."""

    def __init__(self) -> None:
        self.health = Health(live=True, ready=True)
        self.fails = False
        self.crashes, self.requests, self.access = Crashes(), RequestCounts(), Access()

    def status(self) -> dict[str, Any]:
        if self.fails:
            raise OSError("no status today")
        return STATUS

    def results(self, most: int) -> list[dict[str, Any]]:
        return [
            {"id": f"belt-3/belt/{i}", "stream": "belt", "top": [{"label": "bolt", "score": 0.93}]}
            for i in range(9)
        ][:most]


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def app_of(
    daemon: Daemon,
    folder: Path | None = None,
    describe: Callable[[], dict[str, Any]] = dict,
    describe_http: Callable[[], dict[str, Any]] = dict,
    described: Callable[[], object] = lambda: None,
) -> Any:
    reports = {} if folder is None else {"parts": Reports(folder)}
    return build_app(
        daemon.status,
        lambda: daemon.health,
        daemon.results,
        lambda most: [],
        lambda: reports,
        describe,
        describe_http,
        lambda: [FRAMES.of(7, "belt")],
        daemon.access,
        daemon.crashes,
        described=described,
        counts=daemon.requests,
    )


@pytest.fixture
def server(daemon: Daemon, tmp_path: Path) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, lambda: app_of(daemon, tmp_path), Crashes())
    server.start()
    yield server
    server.stop()
    assert not any(thread.name == "http" for thread in threading.enumerate())


@pytest.fixture
def client(server: HttpServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=WAIT_S, trust_env=False) as client:
        yield client


def test_alive_and_ready_are_answered_with_reasons(client: httpx.Client, daemon: Daemon) -> None:
    assert client.get("/healthz").json() == {"live": True, "ready": True, "reasons": []}
    daemon.health = Health(True, False, ("source belt: no frame for 9 s",))
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)
    daemon.health = Health(False, False, ("engine parts: stuck",))
    assert client.get("/healthz").status_code == 503
    assert client.get("/readyz").json()["reasons"] == ["engine parts: stuck"]


def test_documents_are_made_once_for_what_they_describe(daemon: Daemon) -> None:
    made, configs = list[str](), ["first"]

    def describe(kind: str) -> Callable[[], dict[str, Any]]:
        return lambda: made.append(f"{kind} {configs[-1]}") or {kind: configs[-1]}

    app = app_of(daemon, None, describe("asyncapi"), describe("openapi"), lambda: configs[-1])
    server = HttpServer("127.0.0.1", 0, lambda: app, Crashes())
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=WAIT_S, trust_env=False) as client:

        def ask() -> list[dict[str, str]]:
            return [client.get(f"/{kind}.json").json() for kind in ("asyncapi", "openapi") for _ in range(2)]

        assert ask() == [{"asyncapi": "first"}] * 2 + [{"openapi": "first"}] * 2
        configs.append("second")
        assert ask() == [{"asyncapi": "second"}] * 2 + [{"openapi": "first"}] * 2
    server.stop()
    assert made == ["asyncapi first", "openapi first", "asyncapi second"]


def test_status_and_results_are_plain_json(client: httpx.Client) -> None:
    answer = client.get("/status")
    assert answer.json()["models"]["parts"]["infer_ms"]["p99"] == 9.5
    assert answer.headers["cache-control"] == "no-store"
    assert len(client.get("/results?most=3").json()["results"]) == 3
    assert client.get("/events").json() == {"events": []}


def test_metrics_are_in_the_text_of_prometheus_and_never_kept(client: httpx.Client) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["cache-control"] == "no-store"
    assert 'frames_total{stream="belt"} 7.0' in answer.text.splitlines()
    openmetrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_requests_are_counted_by_address_and_answer(client: httpx.Client, daemon: Daemon) -> None:
    daemon.health = Health(True, False)
    for path in (
        "/readyz",
        "/healthz",
        "/healthz",
        "/reports/parts/r7",
        "/reports/people/r8",
        "/w%C3%A4/1",
        "/x",
    ):
        client.get(path)
    client.get("/status", headers={"Host": "example.com"})
    client.post("/status")
    assert daemon.requests.read() == {
        ("/readyz", 503): 1,
        ("/healthz", 200): 2,
        ("/reports/{model}/{report}", 404): 2,
        ("other", 404): 2,
        ("/status", 400): 1,
        ("/status", 405): 1,
    }


@pytest.mark.parametrize("most", ["0", "-1", "501", "soon", "1e3", "", "٣", "9" * 400])
def test_a_wrong_number_of_results_is_refused(client: httpx.Client, most: str) -> None:
    answer = client.get("/results", params={"most": most})
    assert answer.status_code == 400
    assert "1..500" in answer.json()["error"]


def test_reports_are_listed_and_shown_under_a_policy_that_runs_nothing(
    client: httpx.Client, tmp_path: Path
) -> None:
    assert client.get("/reports").json() == {"reports": []}
    for place, at in (("patches/p1", 2.0), ("reports/r1", 3.0)):
        (tmp_path / place).mkdir(parents=True)
        figures = {"accepted": place[0] == "p", "at": at, "reasons": ["so"], "candidate": "input"}
        (tmp_path / place / "report.json").write_bytes(orjson.dumps(figures))
    (tmp_path / "reports" / "r1" / "report.html").write_text("<script>alert(1)</script>")
    newest, older = client.get("/reports").json()["reports"]
    assert (newest["id"], newest["page"]) == ("parts/r1", "/reports/parts/r1")
    assert (older["id"], older["page"], older["at"]) == ("parts/p1", None, "1970-01-01T00:00:02.000Z")
    assert len(client.get("/reports?most=1").json()["reports"]) == 1
    answer = client.get("/reports/parts/r1")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert client.get("/reports/parts/r1.json").json()["reasons"] == ["so"]


def test_a_report_page_shows_no_secret(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its texts are those of errors, and it was written by a process that knows no secrets."""
    monkeypatch.setattr("edge_runtime.http.api.PROCESS", Redactor(["hunter2<&>"]))
    (tmp_path / "reports" / "r1").mkdir(parents=True)
    page = "<p>ü hunter2&lt;&amp;&gt; rtsp://me:pw@cam/1 <b>50 %</b></p>"
    (tmp_path / "reports" / "r1" / "report.html").write_text(page)
    assert client.get("/reports/parts/r1").text == "<p>ü *** rtsp://***@cam/1 <b>50 %</b></p>"


@pytest.mark.parametrize(
    "path",
    [
        "parts/p2",
        "parts/p1.json",
        "other/r1",
        "parts/..%2fr1",
        "parts/r1%00",
        "..%2f..%2fsecret/r1",
        "parts/",
    ],
)
def test_a_report_that_is_not_there_is_404(client: httpx.Client, path: str) -> None:
    assert client.get(f"/reports/{path}").status_code == 404


def test_unknown_pages_and_methods_are_refused(client: httpx.Client) -> None:
    assert client.get("/../etc/passwd").status_code == 404
    assert client.post("/status").status_code == 405


def test_a_page_elsewhere_cannot_read_us_through_its_own_name(server: HttpServer) -> None:
    url = f"http://127.0.0.1:{server.port}/status"
    codes = {
        host: httpx.get(url, headers={"Host": host}, trust_env=False).status_code
        for host in ("evil.example", "localhost", f"127.0.0.1:{server.port}", f"[::1]:{server.port}")
    }
    assert list(codes.values()) == [400, 200, 200, 200]


def test_a_failing_status_is_a_500_and_the_server_lives_on(client: httpx.Client, daemon: Daemon) -> None:
    daemon.fails = True
    assert client.get("/status").status_code == 500
    assert daemon.crashes.by_thread() == {"http-view": 1}
    daemon.fails = False
    assert client.get("/status").status_code == 200


def test_a_taken_port_is_said_at_once_and_clearly(server: HttpServer, daemon: Daemon) -> None:
    second = HttpServer("127.0.0.1", server.port, lambda: app_of(daemon), Crashes())
    with pytest.raises(PortUnavailable, match=rf"127\.0\.0\.1:{server.port}") as caught:
        second.start()
    assert caught.value.exit_code == 69
    second.stop()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(PortUnavailable, match=r"http\.port"):
        HttpServer(host, 0, lambda: app_of(Daemon()), Crashes()).start()


def test_the_port_is_free_again_after_stop_even_with_a_connection_open(daemon: Daemon) -> None:
    port = 0
    for _ in range(3):
        server = HttpServer("127.0.0.1", port, lambda: app_of(daemon), Crashes())
        server.start()
        port = server.port
        idle = socket.create_connection(("127.0.0.1", port))
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
            server.stop()
        idle.close()
        server.stop()


def test_stop_before_start_and_during_start_is_clean(daemon: Daemon) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow_app() -> Any:
        entered.set()
        leave.wait(WAIT_S)
        return app_of(daemon)

    HttpServer("127.0.0.1", 0, slow_app, Crashes()).stop()
    server = HttpServer("127.0.0.1", 0, slow_app, Crashes())
    server.start()
    assert entered.wait(WAIT_S)
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    leave.set()
    stopper.join(WAIT_S)
    assert not stopper.is_alive()


def test_a_server_that_failed_serves_again_and_is_counted(daemon: Daemon) -> None:
    failures: list[type[Exception]] = [ImportError, OSError]

    def app() -> Any:
        if failures:
            raise failures.pop()("bug")
        return app_of(daemon)

    crashes = Crashes(pytest.fail)
    server = HttpServer("127.0.0.1", 0, app, crashes)
    server.start()
    try:
        with httpx.Client(trust_env=False, timeout=WAIT_S) as client:
            assert client.get(f"http://127.0.0.1:{server.port}/healthz").status_code == 200
    finally:
        server.stop()
    assert crashes.by_thread() == {"http": 2}


def test_a_server_that_always_fails_is_a_row_until_it_has_served(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, is_broken = uvicorn.Server.run, threading.Event()
    is_broken.set()

    def run(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        if is_broken.is_set():
            raise OSError(errno.EMFILE, "too many open files")
        serve(server, sockets)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    crashes = Crashes()
    server = HttpServer("127.0.0.1", 0, lambda: app_of(daemon), crashes)
    try:
        with structlog.testing.capture_logs() as logged:
            server.start()
            assert until(lambda: crashes.in_a_row().get("http", 0) > 3)
        pauses = [entry["retry_in_s"] for entry in logged if entry.get("thread") == "http"][:4]
        assert pauses == sorted(set(pauses))
        is_broken.clear()
        url = f"http://127.0.0.1:{server.port}/healthz"
        assert httpx.get(url, timeout=WAIT_S, trust_env=False).status_code == 200
        assert until(lambda: crashes.in_a_row() == {})
    finally:
        server.stop()


def test_the_page_loads_its_own_parts_and_nothing_else(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    wanted, read = re.findall(r'(?:src|href)="(page/[^"]+)"', page.text), dict[str, str]()
    while wanted:
        part = client.get(f"/{wanted.pop()}")
        assert part.status_code == 200, part.url
        assert part.headers["content-security-policy"] == POLICY
        read[part.url.path] = part.text
        found = {f"page/{name}" for name in re.findall(r'"\./([a-z-]+\.js)"', part.text)}
        wanted += [name for name in found if f"/{name}" not in read]
    assert {"/page/style.css", "/page/main.js", "/page/live.js"} <= read.keys()
    own = (text for path, text in read.items() if "uplot" not in path)  # its comments name addresses
    for text in (page.text, *own):
        assert "://" not in text.replace("http://www.w3.org/2000/svg", "")  # the device is offline
        assert "innerHTML" not in text
    assert client.get("/page/index.html").status_code == client.get("/page/..%2Fapi.py").status_code == 404


def test_a_part_that_the_browser_has_is_not_sent_again(client: httpx.Client) -> None:
    had = client.get("/page/main.js")
    again = client.get("/page/main.js", headers={"If-None-Match": had.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def has_address(host: str) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["::1", "127.0.0.2", "localhost"])
def test_each_loopback_address_is_served_under_its_own_name(host: str, daemon: Daemon) -> None:
    server = HttpServer(host, 0, lambda: app_of(daemon), Crashes())
    if not has_address(host):  # a machine without IPv6
        with pytest.raises(PortUnavailable, match=host):
            server.start()
        return
    server.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{server.port}/healthz"
        assert httpx.get(url, timeout=WAIT_S, trust_env=False).status_code == 200
        answer = httpx.get(url, headers={"Host": "evil.example"}, timeout=WAIT_S, trust_env=False)
        Contract(describe(DaemonStatus, Health)).check(answer)
        assert answer.status_code == 400
    finally:
        server.stop()
