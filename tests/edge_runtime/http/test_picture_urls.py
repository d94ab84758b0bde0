"""``{"url": ...}``: the picture is loaded from where the configuration allows, and from nowhere else."""

import socket
import ssl
import threading

import httpx
import numpy as np
import pytest
import trustme

from edge_runtime.config.install_sources import parse_prefix
from tests.support.bundle_models import png
from tests.support.http_bench import DOCUMENT, MOST_BYTES, Bench
from tests.support.http_contract import Contract
from tests.support.scripted_http import Answer, ScriptedServer
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

PICTURE = png(np.full((16, 16, 3), (10, 10, 250), np.uint8))
CONTRACT = Contract(DOCUMENT)


class Site:
    """A server of pictures, and a bench that may load those below ``/line``."""

    def __init__(self, folder):
        self.hold = threading.Event()
        self.hold.set()
        self.server = ScriptedServer(self._answer)
        self.server.__enter__()
        self.host = self.server.host
        prefixes = [f"http://{self.host}/line", "https://pictures.example/"]
        self.bench = Bench(folder, fetch_from=[parse_prefix(one) for one in prefixes], timeout_s=5.0)

    def _answer(self, asked):
        self.hold.wait(WAIT_S)
        path = asked.path.partition("?")[0]
        if path == "/line/away":
            return Answer(302, {"Location": f"http://{self.host}/secret"})
        bodies = {"/line/one.png": PICTURE, "/line/large": bytes(MOST_BYTES + 1), "/line/text": b"no picture"}
        return Answer(body=bodies[path]) if path in bodies else Answer(404)

    def ask(self, url, **more):
        with httpx.Client(
            timeout=WAIT_S, trust_env=False, event_hooks={"response": [CONTRACT.check]}
        ) as client:
            return client.post(f"{self.bench.url}/predict", json={"url": url, **more})

    def close(self):
        self.hold.set()
        self.bench.close()
        self.server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


def test_the_picture_at_an_address_is_answered(site):
    answer = site.ask(f"http://{site.host}/line/one.png?token=a%20b")
    assert (answer.status_code, answer.json()["top"][0]["label"]) == (200, "a")
    assert site.server.asked[-1].path == "/line/one.png?token=a%20b"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://{host}/secret", 403),
        ("http://{host}/line/../secret", 400),
        ("http://{host}/line/%2e%2e/secret", 400),
        ("http://{host}/liner/one.png", 403),
        ("http://user@{host}/line/one.png", 400),
        ("http://localhost:1/line/one.png", 403),
        ("http://pictures.example/one.png", 400),
        ("https://elsewhere.example/one.png", 403),
        ("file:///etc/passwd", 400),
        ("http://{host}/line/one.png#x", 400),
        ("http://{host}/line/one.png?a\r\nb", 400),
        ("", 400),
        ("x" * 5000, 400),
        (3, 400),
    ],
)
def test_nothing_is_asked_at_other_addresses(site, url, code):
    before = len(site.server.asked)
    assert site.ask(url.format(host=site.host) if isinstance(url, str) else url).status_code == code
    assert len(site.server.asked) == before


def test_an_address_and_a_picture_together_are_refused(site):
    assert site.ask(f"http://{site.host}/line/one.png", image="aGk=").status_code == 400


@pytest.mark.parametrize(("path", "code"), [("nowhere", 502), ("away", 502), ("large", 413), ("text", 422)])
def test_what_is_there_instead_of_a_picture_is_told(site, path, code):
    assert site.ask(f"http://{site.host}/line/{path}").status_code == code
    assert {one.path for one in site.server.asked} & {"/secret"} == set()
    assert site.bench.crashes.total == 0


def test_a_name_that_leads_to_this_machine_is_refused_before_anything_is_sent(site, monkeypatch):
    authority, find = trustme.CA(), socket.getaddrinfo
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.example").configure_cert(context)
    with ScriptedServer(lambda asked: Answer(body=PICTURE), context) as rebound:
        place = ("127.0.0.1", int(rebound.host.partition(":")[2]))

        def lie(host, *given, **named):
            return (
                find(*place, *given[1:], **named)
                if host == "pictures.example"
                else find(host, *given, **named)
            )

        monkeypatch.setattr(socket, "getaddrinfo", lie)
        with authority.cert_pem.tempfile() as trusted:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusted)
            answer = site.ask("https://pictures.example/one.png")
        assert (answer.status_code, rebound.asked) == (502, [])
    assert site.bench.crashes.total == 0


def test_a_picture_that_does_not_come_is_not_waited_for_and_few_are_loaded_at_a_time(tmp_path, monkeypatch):
    site = Site(tmp_path)
    site.hold.clear()
    monkeypatch.setattr(site.bench.predict.fetcher, "timeout_s", 0.2)
    try:
        url = f"http://{site.host}/line/one.png"
        assert [site.ask(url).status_code for _ in range(3)] == [504, 504, 429]
        site.hold.set()
        assert until(lambda: site.ask(url).status_code == 200)
    finally:
        site.close()


def test_without_a_list_nothing_is_loaded(tmp_path):
    bench = Bench(tmp_path)
    try:
        given = {"json": {"url": "https://pictures.example/one.png"}, "timeout": WAIT_S, "trust_env": False}
        assert httpx.post(f"{bench.url}/predict", **given).status_code == 403
    finally:
        bench.close()
