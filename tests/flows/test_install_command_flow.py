"""The command install over a real broker, with stock tools and by ``edge-runtime send``, over kills of either end."""

import json
import os
import re
import subprocess
import threading

import pytest
from click.testing import CliRunner

from edge_runtime.bundles.travel.chunks import UPLOAD_FOLDER
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.main import cli
from edge_runtime.cli.remote import send_command
from edge_runtime.cli.upload import ChunkedFile
from edge_runtime.config import Address
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.messaging.commands.command_keys import load_command_key
from tests.support.install_bench import Archive
from tests.support.install_box import InstallBox
from tests.support.listener import Listener, check_messages
from tests.support.mosquitto import Mosquitto
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMAND, CHUNKS = (
    next(block for block in BLOCKS if mark in block) for mark in ("openssl pkeyutl", "split -b")
)


class Bench:
    """A box, its broker, the owner's key, and an archive to install."""

    def __init__(self, folder, broker):
        self.folder, self.broker = folder, broker
        make = ["keys", "make", str(folder / "olga"), "--for", "commands"]
        assert CliRunner().invoke(cli, make, standalone_mode=False).return_value == 0
        self.key = folder / "olga"
        self.box = InstallBox(folder, broker.port)
        self.store = self.box.state / "bundles"
        self.kept = self.store / UPLOAD_FOLDER
        self.box.start()

    def make(self, name):
        """What is to be installed."""
        self.archive = Archive(self.folder / f"{name}-made", name=name, chunk_bytes=8192)

    def has(self, name):
        return load_bundle(self.store / name / "1").id == f"{name}/1" and not self.kept.exists()

    def send(self, verb="install", timeout_s=WAIT_S, key=None, **more):
        mqtt = {"host": "127.0.0.1", "port": self.broker.port}
        to = Address.model_validate({"device": "belt-3", "mqtt": mqtt})
        upload = more.get("upload")
        chunks = {} if upload is None else {"chunks": upload.names, "size_bytes": upload.size_bytes}
        return send_command(to, verb, chunks, timeout_s, key=key or self.key, **more)

    def is_up(self):
        try:
            return self.send("status", timeout_s=1.0)["status"] == "ok"
        except EdgeRuntimeError:
            return False

    def chunks(self, most=None):
        """Of the archive; ``most`` are ever sent."""
        upload = ChunkedFile(self.archive.path, 8192)
        if most is not None:
            choose = upload.choose
            upload.choose = lambda missing, count: [at for at in choose(missing, count) if at < most]
        return upload

    def send_until_gone(self, most):
        """Send a part of the chunks, in a thread, by a caller who loses its broker or its box."""

        def send():
            with pytest.raises(EdgeRuntimeError):
                self.send(upload=self.chunks(most), timeout_s=3.0)

        thread = threading.Thread(target=send)
        thread.start()
        assert until(lambda: len(list(self.kept.glob("*"))) >= most)
        return thread


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("install")
    with Mosquitto(folder / "broker") as broker:
        listener, bench = Listener(broker, "belt-3"), Bench(folder, broker)
        try:
            assert until(bench.is_up)
            yield bench
        finally:
            bench.box.kill()
        listener.stop()
        status = "edge/belt-3/response/status"  # the box of the test knows nothing of itself
        check_messages([one for one in listener.heard if one.topic != status], "belt-3")


def test_the_shell_of_the_page_installs_a_bundle(bench):
    bench.make("photos")
    (bench.folder / "command.sh").write_text(COMMAND)
    env = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(bench.broker.port),
        "DEVICE": "belt-3",
        "KEY": "olga",
        "KEY_ID": load_command_key(bench.folder / "olga.pub").id,
        "FILE": str(bench.archive.path),
    }
    chunks = CHUNKS.replace("131072", "65536")
    done = subprocess.run(
        ["bash", "-euc", chunks], cwd=bench.folder, env=env, capture_output=True, text=True, timeout=WAIT_S
    )
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["data"]["bundle"]) == ("ok", "photos/1"), answer
    assert answer["data"]["models"] == [{"model": "parts", "taken": "rollout"}]
    assert json.loads((bench.folder / "progress.json").read_text())["status"] == "progress"
    assert bench.has("photos")


def test_a_box_that_is_killed_half_way_asks_for_the_rest_only(bench):
    bench.make("killed")
    caller = bench.send_until_gone(5)
    bench.box.kill()
    caller.join(WAIT_S)
    bench.box.start()
    assert until(bench.is_up)
    answer = bench.send(upload=bench.chunks())
    assert answer["data"]["kept_bytes"] == sum(len(one) for one in bench.archive.pieces[:5])
    assert answer["data"]["downloaded_bytes"] + answer["data"]["kept_bytes"] == len(bench.archive.data)
    assert bench.has("killed")


def test_a_broker_that_is_killed_half_way_is_waited_for(bench):
    bench.make("lost")
    caller = bench.send_until_gone(5)
    bench.broker.kill()
    caller.join(WAIT_S)
    bench.broker.start()
    assert until(bench.is_up)
    arguments = ["send", "install", "--config", str(bench.box.file), "--key", str(bench.key)]
    given = ["--file", str(bench.archive.path), "--chunk-kib", "8", "--timeout", str(WAIT_S)]
    done = CliRunner().invoke(cli, arguments + given, standalone_mode=False)
    assert done.return_value == 0, done.output
    answer = json.loads(done.output)["data"]
    assert answer["kept_bytes"] >= sum(len(one) for one in bench.archive.pieces[:5])
    assert bench.has("lost")
