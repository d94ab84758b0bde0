"""How the adapter speaks to registries that are closed, broken or hostile."""

import gzip
import json
import ssl
import sys
from contextlib import ExitStack

import pytest
import trustme

from edge_runtime.bundles.travel import bounded_http
from edge_runtime.bundles.travel.credentials import Credentials
from edge_runtime.bundles.travel.oras_registry import OrasRegistry
from edge_runtime.bundles.travel.reference import Reference, parse_reference
from edge_runtime.errors import ExtraMissing, RegistryLost, RegistryRefused
from tests.support.scripted_http import Answer, ScriptedServer
from tests.support.trickle_http import TrickleServer

pytestmark = pytest.mark.integration

JOE = Credentials("joe", "battery-staple-9")
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def client():
    """Makes registries of a host, and closes them."""
    with ExitStack() as opened:

        def make(host, credentials=None, *, plain_http=False):
            reference = Reference(host, "acme/parts", "4", None)
            return opened.enter_context(OrasRegistry(reference, credentials, plain_http=plain_http))

        yield make


def serve(answers):
    """A server that needs no login; ``answers`` by method and end of the path."""

    def answer(asked):
        if asked.path == "/v2/":
            return Answer()
        return answers(asked) if callable(answers) else answers

    return ScriptedServer(answer)


class TokenRegistry:
    """A registry with a token service; a token is good for some requests."""

    def __init__(self, uses=100):
        self.uses, self.left, self.given, self.passwords = uses, 0, 0, []

    def __call__(self, asked):
        if asked.path.startswith("/token"):
            self.passwords.append(asked.headers.get("Authorization"))
            self.given, self.left = self.given + 1, self.uses
            return Answer(body=json.dumps({"token": f"t{self.given}"}).encode())
        if asked.headers.get("Authorization") == f"Bearer t{self.given}" and self.left:
            self.left -= 1
            return Answer(body=b"manifest")
        realm = f'Bearer realm="http://{asked.headers["Host"]}/token",service="tests",scope="repository:acme/parts:pull"'
        return Answer(401, {"WWW-Authenticate": realm})


@pytest.mark.parametrize("credentials", [None, JOE])
def test_a_token_is_asked_for_with_the_password_where_there_is_one(client, credentials):
    tokens = TokenRegistry()
    with ScriptedServer(tokens) as server:
        registry = client(server.host, credentials)
        assert registry.get_manifest("4") == registry.get_manifest("4") == b"manifest"
    assert tokens.given == 1
    assert [bool(one) for one in tokens.passwords] == [credentials is not None]
    sent = [one.headers.get("Authorization", "") for one in server.asked if one.path.startswith("/v2/")]
    assert not [one for one in sent if "Basic" in one]


def test_a_token_that_expired_is_renewed(client):
    tokens = TokenRegistry(uses=2)
    with ScriptedServer(tokens) as server:
        registry = client(server.host, JOE)
        for _ in range(3):
            assert registry.get_manifest("4") == b"manifest"
    assert tokens.given == 3


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Bearer",
        'Bearer realm=""',
        'Bearer realm="nonsense"',
        'Bearer realm="ftp://x/"',
        "Basic",
        'Digest realm="x"',
    ],
)
def test_a_login_that_cannot_be_is_a_refusal(client, challenge):
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    for credentials in (None, JOE):
        with ScriptedServer(lambda asked: Answer(401, headers)) as server:
            with pytest.raises((RegistryRefused, RegistryLost)) as caught:
                client(server.host, credentials).get_manifest("4")
            assert JOE.password not in str(caught.value)


def test_a_token_service_that_talks_nonsense_is_a_refusal(client):
    def answer(asked):
        if asked.path.startswith("/token"):
            return Answer(body=b"<html>")
        return Answer(401, {"WWW-Authenticate": f'Bearer realm="http://{asked.headers["Host"]}/token"'})

    with ScriptedServer(answer) as server, pytest.raises(RegistryRefused):
        client(server.host, JOE).get_manifest("4")


@pytest.mark.parametrize("status", [400, 403, 418])
def test_a_no_is_final_and_says_why(client, status):
    words = json.dumps({"errors": [{"code": "DENIED", "message": "not\x1b[31m today"}]}).encode()
    with serve(Answer(status, body=words)) as server, pytest.raises(RegistryRefused) as caught:
        client(server.host).get_manifest("4")
    assert str(status) in str(caught.value) or "asked" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_registry_is_tried_later(client, status):
    with serve(Answer(status)) as server, pytest.raises(RegistryLost):
        client(server.host).get_manifest("4")


def test_a_manifest_is_bounded(client):
    with serve(Answer(body=b" " * (4 * 1024 * 1024 + 1))) as server, pytest.raises(RegistryRefused):
        client(server.host).get_manifest("4")


def test_a_compressed_answer_is_not_unpacked(client):
    packed = gzip.compress(bytes(10_000_000))
    with serve(Answer(headers={"Content-Encoding": "gzip"}, body=packed)) as server:
        assert client(server.host).get_manifest("4") == packed
        assert server.asked[-1].headers["Accept-Encoding"] == "identity"


def read(registry, start):
    with registry.open_blob(DIGEST, start) as part:
        return part.start, b"".join(part.chunks)


def test_a_range_is_asked_for_and_given(client):
    def answer(asked):
        if "Range" not in asked.headers:
            return Answer(body=b"0123456789")
        start = int(asked.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        return Answer(206, {"Content-Range": f"bytes {start}-9/10"}, b"0123456789"[start:])

    with serve(answer) as server:
        assert read(client(server.host), 0) == (0, b"0123456789")
        assert read(client(server.host), 4) == (4, b"456789")


def test_a_registry_without_ranges_gives_the_whole(client):
    with serve(Answer(body=b"0123456789")) as server:
        assert read(client(server.host), 4) == (0, b"0123456789")


@pytest.mark.parametrize("said", ["", "bytes 0-9/10", "bytes 40-49/50", "nonsense"])
def test_another_range_is_refused(client, said):
    with serve(Answer(206, {"Content-Range": said}, b"x")) as server, pytest.raises(RegistryRefused):
        read(client(server.host), 4)


def test_a_blob_that_breaks_off_is_a_loss_after_its_bytes(client):
    with serve(Answer(body=b"01234", length=10)) as server:
        got = []
        with pytest.raises(RegistryLost), client(server.host).open_blob(DIGEST, 0) as part:
            got.extend(part.chunks)


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:1/upload", "https://evil.example/upload", "//evil.example/x"]
)
def test_an_upload_is_not_sent_to_another_address(client, place):
    with serve(Answer(202, {"Location": place})) as server, pytest.raises(RegistryRefused):
        client(server.host).start_upload()


def test_an_upload_goes_on_where_the_registry_says(client):
    answers = iter(
        [
            Answer(202, {"Location": "/v2/u/1?_state=a"}),
            Answer(202, {"Location": "/v2/u/1?_state=b"}),
            Answer(204, {"Location": "/v2/u/1?_state=c", "Range": "0-4"}),
            Answer(201),
            Answer(404),
        ]
    )
    with serve(lambda asked: next(answers)) as server:
        registry = client(server.host)
        upload = registry.send_chunk(registry.start_upload(), 0, b"01234")
        found = registry.find_upload(upload)
        assert found == (f"http://{server.host}/v2/u/1?_state=c", 5)
        registry.finish_upload(found[0], DIGEST, b"56")
        assert registry.find_upload(upload) is None
    assert server.asked[-2].path == f"/v2/u/1?_state=c&digest={DIGEST}"
    assert server.asked[-4].headers["Content-Range"] == "0-4"


@pytest.fixture
def authority(tmp_path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


def test_another_machine_is_spoken_to_with_tls_only_unless_asked_otherwise(client, monkeypatch):
    """A name is used that is no loopback address, and leads here."""
    monkeypatch.setattr(Reference, "is_loopback", False)
    with serve(Answer(body=b"manifest")) as server:
        with pytest.raises((RegistryRefused, RegistryLost)):
            client(server.host).get_manifest("4")
        assert not server.asked
        assert client(server.host, plain_http=True).get_manifest("4") == b"manifest"


def tls_server(authority, answer):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return ScriptedServer(answer, context)


def test_a_password_does_not_go_to_a_token_service_without_tls(client, monkeypatch, authority):
    monkeypatch.setattr(Reference, "is_loopback", False)
    with serve(Answer(body=b"{}")) as plain:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{plain.host}/token"'}
        with (
            tls_server(authority, lambda asked: Answer(401, challenge)) as server,
            pytest.raises(RegistryRefused, match="TLS"),
        ):
            client(server.host, JOE).get_manifest("4")
        assert not plain.asked


def test_a_blob_is_not_loaded_from_an_address_without_tls(client, monkeypatch, authority):
    monkeypatch.setattr(Reference, "is_loopback", False)
    with serve(Answer(body=b"blob")) as plain:

        def answer(asked):
            return (
                Answer() if asked.path == "/v2/" else Answer(307, {"Location": f"http://{plain.host}/blob"})
            )

        with tls_server(authority, answer) as server, pytest.raises(RegistryRefused, match="TLS"):
            read(client(server.host), 0)
        assert not plain.asked


def test_no_password_is_sent_on_to_where_blobs_lie(client, authority, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login anna password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(Reference, "is_loopback", False)
    with ExitStack() as stack:
        storage = stack.enter_context(tls_server(authority, lambda asked: Answer(body=b"blob")))

        def answer(asked):
            if "Authorization" not in asked.headers:
                return Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
            return (
                Answer()
                if asked.path == "/v2/"
                else Answer(307, {"Location": f"https://{storage.host}/blob"})
            )

        server = stack.enter_context(tls_server(authority, answer))
        assert read(client(server.host, JOE), 0) == (0, b"blob")
    assert [one.headers.get("Authorization") for one in storage.asked] == [None]


def test_an_unknown_certificate_is_a_refusal(client, monkeypatch, authority):
    monkeypatch.setattr(Reference, "is_loopback", False)
    with tls_server(trustme.CA(), lambda asked: Answer()) as server:
        with pytest.raises(RegistryRefused, match="certificate"):
            client(server.host, JOE).get_manifest("4")
        assert not server.asked


def test_without_the_library_the_extra_is_named(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "oras.provider", None)
    with pytest.raises(ExtraMissing) as caught:
        client("127.0.0.1:1")
    assert "edge-runtime[travel]" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["oci://localhost/a.b/parts:4", "oci://[::1]:5000/parts:4", "oci://h.example/parts:4"]
)
def test_the_host_stays_the_one_that_was_named(text):
    reference = parse_reference(text)
    registry = OrasRegistry(reference, None, plain_http=False)
    assert registry._container.registry.startswith(reference.host)
    assert registry._container.api_prefix == reference.repository


def test_docker_hub_is_asked_where_it_answers():
    reference = parse_reference("oci://docker.io/acme/parts:4")
    assert OrasRegistry(reference, None, plain_http=False)._base == "https://registry-1.docker.io"


@pytest.mark.parametrize("place", ["login", "token", "redirect", "upload"])
def test_an_answer_that_nobody_needs_is_read_within_bounds(client, place):
    """A registry may send gigabytes where a few words are expected."""
    endless = Answer(body=bytes(8 * 2**20))

    def answer(asked):
        if place == "login" and asked.path == "/v2/":
            return endless
        if asked.path.startswith("/token"):
            return endless
        if place == "token":
            return Answer(401, {"WWW-Authenticate": f'Bearer realm="http://{asked.headers["Host"]}/token"'})
        if asked.path == "/v2/":
            return Answer()
        if place == "redirect":
            return Answer(307, {"Location": "/elsewhere"}, endless.body)
        return Answer(202, {"Location": "/upload"}, endless.body)

    with ScriptedServer(answer) as server:
        registry = client(server.host)
        with pytest.raises(RegistryRefused, match="bytes"):
            registry.start_upload() if place == "upload" else registry.get_manifest("4")


@pytest.mark.parametrize("name", ["WWW-Authenticate", "Location", "Set-Cookie"])
@pytest.mark.parametrize("status", [307, 401])
def test_a_long_header_is_refused_before_it_is_searched(client, name, status):
    headers = {"WWW-Authenticate": "Bearer"} | {name: "Bearer " + "a" * 60_000}
    for place in ("login", "manifest"):

        def answer(asked, place=place):
            return Answer() if place == "manifest" and asked.path == "/v2/" else Answer(status, headers)

        with ScriptedServer(answer) as server, pytest.raises(RegistryRefused, match="60007"):
            client(server.host).get_manifest("4")


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/x", "file:///etc/passwd", "javascript:1", "http://[::1", ""])
def test_a_blob_at_an_address_that_cannot_be_is_refused_with_the_cause(client, to):
    with (
        serve(Answer(307, {"Location": to})) as server,
        pytest.raises(RegistryRefused, match="address") as caught,
    ):
        read(client(server.host), 0)
    assert server.host in str(caught.value)
    assert "expected" in caught.value.reason


def test_addresses_that_lead_on_for_ever_are_refused_with_the_cause(client):
    with (
        serve(lambda asked: Answer(307, {"Location": asked.path})) as server,
        pytest.raises(RegistryRefused, match="more than 5"),
    ):
        read(client(server.host), 0)
    assert len(server.asked) < 10


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_registry_that_gives_a_byte_at_a_time_is_lost(client, monkeypatch, head):
    monkeypatch.setattr(bounded_http, "GRACE_S", 0.3)
    with TrickleServer(head) as server, pytest.raises(RegistryLost, match="1024"):
        client(server.host).get_manifest("4")


def test_a_short_answer_that_unpacks_to_gigabytes_is_read_within_bounds(client):
    bomb = Answer(202, {"Location": "/upload", "Content-Encoding": "gzip"}, gzip.compress(bytes(64 * 2**20)))
    with serve(bomb) as server, pytest.raises(RegistryRefused, match="bytes"):
        client(server.host).start_upload()
