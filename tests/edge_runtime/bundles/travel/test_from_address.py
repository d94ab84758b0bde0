"""An archive from an address: resumed over kills of the server, bounded, and only from where it may come."""

import hashlib
import random
from types import SimpleNamespace

import pytest

from edge_runtime.bundles.travel.from_address import FileOrder, open_download
from edge_runtime.bundles.travel.pull import PARTIAL_FOLDER
from edge_runtime.bundles.travel.registry import Patience
from edge_runtime.config.install_sources import parse_file_address, parse_prefix
from edge_runtime.errors import BundleError, RegistryLost, RegistryRefused, StateError
from edge_runtime.system import disk
from tests.support.file_server import FileServer
from tests.support.scripted_http import Answer, ScriptedServer
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

DATA = random.Random(1).randbytes(3 * 2**20)
SHA256 = hashlib.sha256(DATA).hexdigest()


def order(address, *, sha256=SHA256, most_bytes=2**30, allowed=()):
    prefixes = [parse_prefix(one) for one in (address, *allowed)]
    return FileOrder(
        parse_file_address(address),
        sha256,
        most_bytes,
        lambda other: any(one.allows(other) for one in prefixes),
    )


def download(folder, wanted, patience=None, on_bytes=lambda _: None, data=DATA):
    with open_download(wanted, folder, patience or Patience(0.0), on_bytes) as (path, counts):
        assert path.read_bytes() == data
    assert not (folder / PARTIAL_FOLDER).exists()
    return counts


def serve(**files):
    """A server that sends these answers, by path."""
    return ScriptedServer(lambda asked: files.get(asked.path.strip("/"), Answer(404)))


def test_a_server_that_is_killed_half_way_is_asked_for_the_rest_only(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    data = random.Random(2).randbytes(32 * 2**20)  # more than sockets hold
    (folder / "x.tar").write_bytes(data)
    with FileServer(folder) as server:
        done = 0

        def kill_once(count):
            nonlocal done
            done += count
            if done >= 2**20 and not server.is_dead and not restarted:
                server.kill()

        restarted = []

        def sleep(_):
            if server.is_dead:
                server.start()
                restarted.append(True)

        wanted = order(server.address("x.tar"), sha256=hashlib.sha256(data).hexdigest())
        counts = download(tmp_path, wanted, Patience(WAIT_S, sleep=sleep), kill_once, data)
        assert restarted == [True]
        assert server.statuses("x.tar") == [206, 200, 206]  # its size, the beginning, the rest
    assert (counts.downloaded, done) == (len(data), len(data))


def test_what_arrived_before_a_kill_of_this_end_is_used_again(tmp_path):
    body = Answer(body=DATA[:1_000_000], length=len(DATA))  # breaks off
    with serve(x=body) as server, pytest.raises(RegistryLost):
        download(tmp_path, order(f"http://{server.host}/x"))
    rest = Answer(206, {"Content-Range": f"bytes 1000000-{len(DATA) - 1}/{len(DATA)}"}, DATA[1_000_000:])
    whole = Answer(206, {"Content-Range": f"bytes 0-0/{len(DATA)}"}, DATA[:1])
    with ScriptedServer(lambda one: whole if one.headers["Range"] == "bytes=0-0" else rest) as server:
        counts = download(tmp_path, order(f"http://{server.host}/y"))  # another address of the same bytes
    assert (counts.kept, counts.downloaded) == (1_000_000, len(DATA) - 1_000_000)
    assert server.asked[-1].headers["Range"] == "bytes=1000000-"


def test_a_server_without_ranges_begins_anew(tmp_path):
    lengths = [len(DATA), len(DATA), None]

    def answer(_):
        at = lengths.pop(0)
        return Answer(body=DATA if at is None or len(lengths) == 2 else DATA[:5000], length=at)

    with ScriptedServer(answer) as server:
        counts = download(tmp_path, order(f"http://{server.host}/x"), Patience(WAIT_S, sleep=lambda _: None))
    assert counts.downloaded == len(DATA) + 5000


@pytest.mark.parametrize(
    ("answer", "wanted", "error"),
    [
        (Answer(body=DATA), {"sha256": "0" * 64}, BundleError),
        (Answer(body=DATA), {"most_bytes": len(DATA) - 1}, BundleError),
        (Answer(404), {}, RegistryRefused),
        (Answer(401), {}, RegistryRefused),
        (Answer(503), {}, RegistryLost),
        (Answer(302), {}, RegistryRefused),
        *[
            (Answer(body=DATA, headers={"Content-Range": f"bytes 0-0/{size}"}), {}, RegistryRefused)
            for size in ("many", "9" * 5000)
        ],
    ],
)
def test_what_is_not_the_file_is_refused_and_leaves_nothing(tmp_path, answer, wanted, error):
    with serve(x=answer) as server, pytest.raises(error):
        download(tmp_path, order(f"http://{server.host}/x", **wanted))
    assert not (tmp_path / PARTIAL_FOLDER).exists()


def test_too_long_a_file_is_not_loaded(tmp_path):
    with serve(x=Answer(body=DATA)) as server:
        with pytest.raises(BundleError):
            download(tmp_path, order(f"http://{server.host}/x", most_bytes=1000))
        assert len(server.asked) == 1


def test_a_redirect_is_followed_to_where_bundles_may_come_from(tmp_path):
    with serve(y=Answer(body=DATA)) as storage:
        leads = Answer(302, {"Location": f"http://{storage.host}/y"})
        with serve(x=leads, a=Answer(301, {"Location": "x"})) as server:
            allowed = [f"http://{server.host}/", f"http://{storage.host}/"]
            download(tmp_path, order(f"http://{server.host}/a", allowed=allowed))


@pytest.mark.parametrize(
    "location",
    [
        "http://{other}/y",
        "//{other}/y",
        "http://{host}@{other}/y",
        "file:///etc/passwd",
        "../../y",
        "http://[/y",
    ],
)
def test_a_redirect_to_elsewhere_is_refused_and_nobody_is_asked(tmp_path, location):
    with serve(y=Answer(body=DATA)) as other:
        wanted = location.format(other=other.host, host="127.0.0.1")
        answers = {"files/x": Answer(302, {"Location": wanted}), "y": Answer(body=DATA)}
        with serve(**answers) as server:
            with pytest.raises(RegistryRefused):
                download(tmp_path, order(f"http://{server.host}/files/x"))
            assert (len(server.asked), other.asked) == (1, [])


def test_redirects_in_a_circle_end(tmp_path):
    with serve(x=Answer(302, {"Location": "x"})) as server, pytest.raises(RegistryRefused):
        download(tmp_path, order(f"http://{server.host}/x"))


def test_no_credentials_are_sent(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serve(x=Answer(body=DATA)) as server:
        download(tmp_path, order(f"http://{server.host}/x"))
        assert not any("Authorization" in one.headers for one in server.asked)


def test_a_disk_that_is_too_small_is_told_before_anything_is_loaded(tmp_path, monkeypatch):
    usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=2 * len(DATA)))
    monkeypatch.setattr(disk, "shutil", usage)
    with serve(x=Answer(body=DATA)) as server:
        with pytest.raises(StateError, match="make room"):
            download(tmp_path, order(f"http://{server.host}/x"))
        assert len(server.asked) == 1
