"""The whole server where tokens are needed: nothing but the probes is told to who shows none."""

import json
import re
import time

import httpx
import pytest
from starlette.routing import Route

from edge_runtime.cli.doctor import port
from edge_runtime.cli.doctor.finding import Level
from edge_runtime.config import parse_config
from edge_runtime.http.identify import OPEN
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.certificate import CertificateFiles
from edge_runtime.serving.wrong_tokens import BURST
from tests.support.http_bench import DOCUMENT, Bench
from tests.support.http_contract import Contract
from tests.support.http_tokens import TOKENS, bearer, make_access
from tests.support.mosquitto import make_tls_files
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

MINIMAL = {
    "device": "box",
    "models": {"m": {"bundle": "demo:efficientnet-lite0"}},
    "cameras": {"belt": {"path": "demo:conveyor", "model": "m"}},
}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("bench"), access=make_access())
    yield bench
    bench.close()


@pytest.fixture
def client(bench):
    hooks = {"response": [Contract(DOCUMENT).check]}
    with httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False, event_hooks=hooks) as client:
        client.origin = {"Origin": bench.url}
        yield client


def test_every_address_but_the_probes_needs_a_token(bench, client):
    routes = [route for route in until(lambda: bench.app).routes if isinstance(route, Route)]
    asked = [
        (method, re.sub(r"{[a-z]+}", "x", route.path))
        for route in routes
        for method in route.methods - {"HEAD"}
    ]
    codes = {(method, path): client.request(method, path).status_code for method, path in asked}
    assert {path for (_, path), code in codes.items() if code != 401} == set(OPEN)
    assert client.get("/no/such/address").status_code == 401
    assert client.get("/status", params={"token": TOKENS[Role.OWNER]}).status_code == 401


def test_a_probe_is_told_whether_and_a_viewer_why(client):
    for path in ("/healthz", "/readyz"):
        assert client.get(path).json() == {"live": True, "ready": True}
        wrong = client.get(path, headers={"Authorization": "Bearer wrong"})
        assert (wrong.status_code, wrong.json()) == (200, {"live": True, "ready": True})
        assert client.get(path, headers=bearer(Role.VIEWER)).json()["reasons"] == []


@pytest.mark.parametrize("path", ["/results", "/events", "/reports", "/metrics", "/", "/v2"])
def test_a_viewer_reads(client, path):
    assert client.get(path, headers=bearer(Role.VIEWER)).status_code == 200


def test_a_browser_is_asked_and_a_program_is_told(client):
    page = client.get("/reports/parts/p17", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'data-root="../../"' in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    told = client.get("/reports/parts/p17")
    assert (told.headers["content-type"], told.headers["www-authenticate"][:6]) == (
        "application/json",
        "Bearer",
    )


def test_a_session_is_opened_with_a_token_and_closed(client):
    opened = client.post("/session", headers=bearer(Role.OPERATOR) | client.origin)
    assert opened.status_code == 204
    [cookie] = opened.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKENS[Role.OPERATOR] not in cookie
    assert client.get("/session").json() == {"name": "the-operator", "role": "operator"}
    assert client.get("/events").status_code == 200
    kept = dict(client.cookies)
    assert client.delete("/session").status_code == 403  # no sign of an own page
    assert client.delete("/session", headers=client.origin).status_code == 204
    client.cookies.update(kept)
    assert client.get("/events").status_code == 401


def test_a_session_opens_no_session(client):
    client.post("/session", headers=bearer() | client.origin)
    assert client.post("/session", headers=client.origin).status_code == 400


def test_without_tokens_this_machine_needs_no_session(tmp_path):
    bench = Bench(tmp_path)
    try:
        with httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False) as client:
            assert client.get("/session").json() == {"name": None, "role": "operator"}
            assert client.post("/session").status_code == 400
    finally:
        bench.close()


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_the_doctor_knows_a_daemon_whose_process_it_cannot_see_by_its_answer(
    tmp_path, monkeypatch, is_encrypted
):
    monkeypatch.setattr(port, "_find_listener", lambda _: None)
    files = make_tls_files(tmp_path / "tls")
    tls = {"cert": str(files.server_cert), "key": str(files.server_key)} if is_encrypted else None
    certificate = (
        CertificateFiles(files.server_cert, files.server_key, time.monotonic) if is_encrypted else None
    )
    bench = Bench(tmp_path, access=make_access(), certificate=certificate)
    http = {"port": bench.server.port, "tls": tls}
    config = parse_config(json.dumps({**MINIMAL, "http": http}), "test", {})
    try:
        assert [one.level for one in port.examine_port(config)] == [Level.OK]
    finally:
        bench.close()


@pytest.mark.parametrize(("address", "is_believed"), [("127.0.0.1", True), ("127.0.0.2", False)])
def test_who_asks_is_told_by_a_proxy_of_this_machine_alone_whatever_the_environment_says(
    monkeypatch, tmp_path, address, is_believed
):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    bench = Bench(tmp_path, access=make_access())
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=bench.url, transport=transport, timeout=WAIT_S) as client:
        codes = [
            client.get(
                "/status", headers={"Authorization": "Bearer no", "X-Forwarded-For": f"192.0.2.{seq}"}
            ).status_code
            for seq in range(BURST + 1)
        ]
    bench.close()
    assert codes == [401] * BURST + [401 if is_believed else 429]


def test_a_browser_behind_a_proxy_that_encrypts_logs_in(bench):
    proxied = {"Host": "localhost", "X-Forwarded-Proto": "https", "Origin": "https://localhost"}
    with httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False, headers=proxied) as client:
        answer = client.post("/session", headers=bearer(Role.VIEWER))
    assert answer.status_code == 204
    assert "Secure" in answer.headers["set-cookie"]
