"""The command install: what is allowed, what the caller hears, and what arrives in the store."""

import io
import json
import sys
import tarfile
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from edge_runtime.bundles.travel.chunks import UPLOAD_FOLDER, name_chunk
from edge_runtime.bundles.travel.files import list_files
from edge_runtime.bundles.travel.from_registry import open_registry
from edge_runtime.bundles.travel.pull import PARTIAL_FOLDER
from edge_runtime.bundles.travel.push import push_bundle
from edge_runtime.bundles.travel.reference import parse_reference
from edge_runtime.bundles.travel.registry import Patience
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.daemon import install_job
from edge_runtime.daemon.install_job import MOST_SHOWN, InstallJob
from edge_runtime.daemon.installs import Installs
from edge_runtime.errors import BadReference, BundleError, CommandError, ExtraMissing, StateError
from edge_runtime.messaging.commands.command_keys import load_signing_key, make_pems, sign
from edge_runtime.messaging.commands.request import MOST_CHUNKS, check_arguments
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES
from edge_runtime.messaging.uploads import MOST_WAITING_BYTES
from edge_runtime.system import disk
from tests.support.bundle_store import look
from tests.support.docker_registry import DockerRegistry
from tests.support.install_bench import Archive, InstallBench
from tests.support.progress import Heard
from tests.support.scripted_http import Answer, ScriptedServer
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

CHUNKS = "{install_chunks: true}"


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "made")


@pytest.fixture
def bench(tmp_path):
    return InstallBench(tmp_path, CHUNKS)


class Caller:
    """One command under way."""

    def __init__(self, bench, **arguments):
        self.heard, self.answer, self.error = Heard(), None, None
        self._work = bench.begin(**arguments)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self.answer = self._work(self.heard)
        except (CommandError, BundleError, StateError) as err:
            self.error = err

    def wait(self):
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self

    def is_asking(self):
        return until(lambda: any(one["phase"] == "receiving" for one in self.heard.reports))


def deliver(bench, archive):
    """The command and all chunks; gives its caller, who has the end of it."""
    caller = Caller(bench, **archive.command)
    assert caller.is_asking()
    for name, piece in zip(archive.names, archive.pieces, strict=True):
        bench.client.publish(name, piece)
    return caller.wait()


@pytest.mark.parametrize(
    "arguments",
    [
        {}, {"from": "oci://r/a:1", "chunks": ["A" * 43], "size_bytes": 1}, {"from": "https://h/x.tar"},
        {"from": "oci://r/a:1", "sha256": "0" * 64}, {"from": "https://h/x.tar", "sha256": "00"},
        {"chunks": ["A" * 43]}, {"chunks": [], "size_bytes": 1}, {"chunks": ["../x"], "size_bytes": 1},
        {"chunks": ["A" * 42 + "/"], "size_bytes": 1}, {"chunks": ["A" * 43] * 1025, "size_bytes": 1},
        {"chunks": ["A" * 43], "size_bytes": 0}, {"from": "oci://r/a:1", "timeout_s": 0},
        {"from": "x" * 600, "sha256": "0" * 64}, {"chunks": ["A" * 43], "size_bytes": 1, "sha256": "0" * 64},
    ],
)  # fmt: skip
def test_arguments_that_name_nothing_are_refused(arguments):
    with pytest.raises(CommandError):
        check_arguments("install", arguments)


def test_the_most_chunks_fit_into_a_signed_command(tmp_path):
    names = [name_chunk(str(number).encode()) for number in range(MOST_CHUNKS)]
    key = tmp_path / "olga"
    key.write_bytes(make_pems()[1])
    arguments = {"chunks": names, "size_bytes": 2**30, "timeout_s": 900.0}
    claims = {"aud": "d" * 64, "exp": 1_795_448_459, "jti": "j" * 64, "verb": "install"}
    token = sign(json.dumps({**claims, "arguments": arguments}).encode(), load_signing_key(key))
    assert len(token) <= MAX_REQUEST_BYTES


def test_the_log_of_commands_gets_no_list_of_chunks(archive):
    noted = check_arguments("install", archive.command).as_noted()
    assert noted["size_bytes"] == len(archive.data)
    assert len(str(noted)) < 200


@pytest.mark.parametrize(
    "arguments",
    [
        {"from": "oci://registry.example/other/photos:1"},
        {"from": "oci://registry.example:5000/lines/photos:1"},
        {"from": "oci://registry.example/lines-evil/photos:1"},
        {"from": "oci://evil.example/lines/photos:1"},
        {"from": "https://registry.example/lines/photos.tar", "sha256": "0" * 64},
        {"from": "https://files.example/bundles/../x.tar", "sha256": "0" * 64},
        {"from": "https://files.example@evil.example/bundles/x.tar", "sha256": "0" * 64},
        {"from": "/etc/passwd", "sha256": "0" * 64},
        {"chunks": ["A" * 43], "size_bytes": 1},
    ],
)
def test_what_the_configuration_does_not_allow_is_refused_at_once(tmp_path, arguments):
    allowed = "{install_from: [oci://registry.example/lines/, https://files.example/bundles/]}"
    with pytest.raises(CommandError):
        InstallBench(tmp_path, allowed).begin(**arguments)


@pytest.mark.parametrize("address", ["oci://u:hunter2@r/a:1", "oci://r/a", "oci://r/../a:1"])
def test_a_wrong_reference_is_refused_without_its_password(tmp_path, address):
    with pytest.raises(BadReference) as caught:
        InstallBench(tmp_path).begin(**{"from": address})
    assert "hunter2" not in str(caught.value)


def test_nothing_is_allowed_by_default(tmp_path):
    with pytest.raises(CommandError):
        InstallBench(tmp_path).begin(**{"from": "oci://registry.example/lines/photos:1"})


def test_chunks_are_asked_for_and_become_an_installed_bundle(bench, archive):
    caller = Caller(bench, **archive.command)
    assert caller.is_asking()
    assert caller.heard.reports[0] == {
        "phase": "receiving",
        "done_bytes": 0,
        "total_bytes": len(archive.data),
        "missing_chunks": len(set(archive.names)),
        "missing": sorted({name: at for at, name in reversed(list(enumerate(archive.names)))}.values()),
    }
    bench.client.publish(name_chunk(b"evil"), b"evil")
    bench.client.publish(archive.names[0], b"other bytes under this name")
    bench.client.publish(archive.names[0], b"")
    assert bench.uploads.counts == {"taken": 0, "dropped": 3}
    for name, piece in reversed(list(zip(archive.names, archive.pieces, strict=True))):
        bench.client.publish(name, piece)
    answer = caller.wait().answer
    assert caller.error is None
    sha256 = load_bundle(bench.root / "photos" / "1").manifest.sha256
    assert answer == {
        "bundle": "photos/1",
        "outcome": "installed",
        "name": "photos",
        "version": 1,
        "sha256": sha256,
        "signed_by": None,
        "size_bytes": answer["size_bytes"],
        "downloaded_bytes": len(archive.data),
        "kept_bytes": 0,
        "removed": [],
        "models": [{"model": "parts", "taken": "rollout"}, {"model": "other", "taken": "never"}],
    }
    assert bench.client.handlers == []
    assert not (bench.root / UPLOAD_FOLDER).exists()


def test_the_same_command_again_takes_over_and_asks_for_the_rest_only(bench, archive):
    lost = Caller(bench, **archive.command)  # its caller is gone
    assert lost.is_asking()
    bench.client.publish(archive.names[0], archive.pieces[0])
    bench.client.publish(archive.names[1], archive.pieces[1])
    assert until(lambda: len(list((bench.root / UPLOAD_FOLDER).glob("*"))) == 2)
    again = Caller(bench, **archive.command, transaction="2")
    assert isinstance(lost.wait().error, CommandError)
    assert again.is_asking()
    assert not {0, 1} & set(again.heard.reports[-1]["missing"])
    for name, piece in zip(archive.names[2:], archive.pieces[2:], strict=True):
        bench.client.publish(name, piece)
    kept = len(archive.pieces[0]) + len(archive.pieces[1])
    assert again.wait().answer["kept_bytes"] == kept
    assert again.answer["downloaded_bytes"] == len(archive.data) - kept


def test_another_bundle_meanwhile_is_refused(bench, archive, tmp_path):
    first = Caller(bench, **archive.command)
    assert first.is_asking()
    other = Archive(tmp_path / "other", version=2)
    assert isinstance(Caller(bench, **other.command).wait().error, CommandError)
    first.heard.is_ending = True
    assert isinstance(first.wait().error, CommandError)
    assert until(lambda: not bench.installs._one_at_a_time.locked())
    assert Caller(bench, **other.command).is_asking()


def test_the_next_bundle_may_come_as_soon_as_the_answer_is_here(bench, archive, monkeypatch):
    class LateCallbacks(Future):
        def add_done_callback(self, _):
            """A callback of a future runs after those who wait have been woken."""

    def run(work):
        done = LateCallbacks()
        done.set_result(work())
        return done

    monkeypatch.setattr(InstallJob, "run", lambda *_: {"bundle": "photos/1", "outcome": "installed"})
    installs = Installs(bench.running, bench.uploads, run)
    for _ in range(2):
        work = installs.begin(check_arguments("install", archive.command)).work
        assert work(Heard())["bundle"] == "photos/1"


def test_chunks_go_on_over_the_connection_that_an_edit_made(bench, archive):
    caller = Caller(bench, **archive.command)
    assert caller.is_asking()
    before = bench.client
    bench.connect()
    assert until(lambda: bench.client.handlers)
    assert before.handlers == []
    for name, piece in zip(archive.names, archive.pieces, strict=True):
        bench.client.publish(name, piece)
    assert caller.wait().answer["bundle"] == "photos/1"


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_caller_whose_chunks_do_not_come_hears_why_and_what_came_is_kept(bench, archive, is_allowed):
    bench.client.is_allowed = is_allowed
    caller = Caller(bench, **archive.command, timeout_s=1.0)
    assert caller.is_asking()
    bench.client.publish(archive.names[0], archive.pieces[0])
    text = str(caller.wait().error)
    assert f"{len(archive.pieces[0])} bytes are kept" in text
    assert ("does not let this device subscribe" in text) is not is_allowed


def test_bytes_that_wait_for_the_disk_are_bounded(bench, archive):
    bench.uploads.want(frozenset(archive.names))
    for _ in range(2 * MOST_WAITING_BYTES // len(archive.pieces[0])):
        bench.client.publish(archive.names[0], archive.pieces[0])
    taken = bench.uploads.counts["taken"]
    assert taken == MOST_WAITING_BYTES // len(archive.pieces[0])
    bench.uploads.want(frozenset())
    assert bench.uploads.take(0.0) is None


def test_a_progress_message_stays_short(bench, archive):
    archive.cut(256)
    assert len(set(archive.names)) > MOST_SHOWN
    caller = Caller(bench, **archive.command)
    assert caller.is_asking()
    assert len(caller.heard.reports[0]["missing"]) == MOST_SHOWN
    caller.heard.is_ending = True
    caller.wait()


def test_what_is_refused_leaves_nothing_and_changes_nothing(bench, archive, tmp_path):
    newer = Archive(tmp_path / "newer", version=2)
    for one in (newer, archive):
        caller = deliver(bench, one)
    assert isinstance(caller.error, BundleError)  # a downgrade
    assert set(look(bench.root)) == {f"photos{path}" for path in ("", "/2")} | {
        f"photos/2/{path}" for path in look(newer.bundle)
    }


@pytest.mark.parametrize(
    ("data", "size_bytes"),
    [(b"no archive at all", 17), (b"no archive at all", 16), (b"no archive at all", 18)],
)
def test_chunks_that_are_no_bundle_are_refused(bench, data, size_bytes):
    caller = Caller(bench, chunks=[name_chunk(data)], size_bytes=size_bytes)
    assert caller.is_asking()
    bench.client.publish(name_chunk(data), data)
    error = caller.wait().error
    assert isinstance(error, BundleError)
    assert str(bench.root) not in str(error)
    assert not (bench.root / UPLOAD_FOLDER).exists()


def test_an_archive_beyond_the_budget_is_refused_before_it_comes(tmp_path):
    bench = InstallBench(tmp_path, "{install_chunks: true, max_mib: 1}")
    caller = Caller(bench, chunks=["A" * 43], size_bytes=100 * 2**20)
    assert isinstance(caller.wait().error, BundleError)
    assert bench.client.handlers == []


def test_an_archive_that_inflates_beyond_the_budget_is_refused(tmp_path):
    bench = InstallBench(tmp_path, "{install_chunks: true, max_mib: 2}")
    bomb = io.BytesIO()
    with tarfile.open(fileobj=bomb, mode="w:gz") as archive:
        member = tarfile.TarInfo("photos/1/large")
        member.size = 64 * 2**20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    data = bomb.getvalue()
    caller = Caller(bench, chunks=[name_chunk(data)], size_bytes=len(data))
    assert caller.is_asking()
    bench.client.publish(name_chunk(data), data)
    assert isinstance(caller.wait().error, BundleError)
    assert look(bench.root) == {}


def test_a_disk_that_is_too_small_is_told_before_a_chunk_comes(bench, archive, monkeypatch):
    usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=2 * len(archive.data)))
    monkeypatch.setattr(disk, "shutil", usage)
    assert isinstance(Caller(bench, **archive.command).wait().error, StateError)
    assert bench.client.handlers == []


def test_in_safe_mode_nothing_is_removed_since_nobody_knows_what_the_models_use(tmp_path, archive):
    bench = InstallBench(tmp_path, "{install_chunks: true, version_policy: {latest: {num_versions: 1}}}")
    newer = Archive(tmp_path / "newer", version=2)
    bench.running.config = bench.running.config.model_copy(update={"models": {}, "cameras": {}})
    for one in (archive, newer):
        assert deliver(bench, one).answer["removed"] == []
    assert sorted(path.name for path in (bench.root / "photos").iterdir()) == ["1", "2"]


def test_a_bundle_comes_from_an_address(tmp_path, archive):
    with ScriptedServer(lambda _: Answer(body=archive.data)) as server:
        bench = InstallBench(tmp_path, f"{{install_from: ['http://{server.host}/b/']}}")
        arguments = {"from": f"http://{server.host}/b/photos.tar", "sha256": archive.sha256}
        answer = bench.install(**arguments)
        assert (answer["bundle"], answer["downloaded_bytes"]) == ("photos/1", len(archive.data))
        assert bench.install(**arguments)["outcome"] == "already installed"
        with pytest.raises(BundleError) as caught:
            bench.install(**{**arguments, "sha256": "0" * 64})
        assert arguments["from"] in str(caught.value)
    assert not (bench.root / PARTIAL_FOLDER).exists()


def test_a_bundle_comes_from_a_real_registry(tmp_path, archive):
    with DockerRegistry(tmp_path / "registry") as registry:
        wanted = parse_reference(registry.reference("lines/photos:1"))
        with open_registry(wanted, plain_http=False) as client:
            pushed = push_bundle(list_files(archive.bundle), wanted, client, Patience(WAIT_S))
        bench = InstallBench(tmp_path, f"{{install_from: ['oci://{registry.host}/lines']}}")
        answer = bench.install(**{"from": wanted.pin(pushed.digest)})
        assert (answer["bundle"], answer["kept_bytes"]) == ("photos/1", 0)
        assert answer["downloaded_bytes"] > 0
        with pytest.raises(CommandError):
            bench.begin(**{"from": registry.reference("other/photos:1")})


def test_the_work_leaves_the_processor_to_live_frames(tmp_path, archive, monkeypatch):
    found = []

    def note(*_, **__):
        found.append(threading.current_thread().name)
        raise StateError("enough")

    monkeypatch.setattr(install_job, "install", note)
    with ScriptedServer(lambda _: Answer(body=archive.data)) as server:
        bench = InstallBench(tmp_path, f"{{install_from: ['http://{server.host}/']}}")
        with pytest.raises(StateError):
            bench.install(**{"from": f"http://{server.host}/x", "sha256": archive.sha256})
    assert found == ["background"]  # of run_in_background, which lowers its priority


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    bench = InstallBench(tmp_path, "{install_from: ['https://h/']}")
    with pytest.raises(ExtraMissing, match="travel"):
        bench.install(**{"from": "https://h/x", "sha256": "0" * 64})
