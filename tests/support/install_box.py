"""The commands of a box as a process of its own, without models: what a broker sees of it, and kill -9.

``python -m tests.support.install_box CONFIG`` runs until it is killed.
"""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from edge_runtime.bundles.travel.chunks import MAX_CHUNK_BYTES, name_chunk
from edge_runtime.config import load_config
from edge_runtime.daemon.installs import Installs
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.wiring.messaging import make_callers
from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.used_file import UsedFile
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import make_mqtt_settings
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.uploads import Uploads
from edge_runtime.system.priority import run_in_background
from edge_runtime.system.supervised_thread import Crashes
from tests.support.paths import ROOT
from tests.support.programs import kill

TEXT = """
device: belt-3
state_dir: {folder}/state
models: {{parts: {{bundle: photos, rollout: {{}}}}}}
cameras: {{belt: {{path: pictures, model: parts}}}}
mqtt: {{host: 127.0.0.1, port: {port}, commands: true}}
commands: {{keys: {{olga: {{file: olga.pub, role: owner}}}}}}
bundles: {{install_chunks: true}}
"""


def main(config_path: Path) -> None:
    config, crashes = load_config(config_path, os.environ), Crashes()
    assert config.mqtt is not None
    running = Running(config)
    uploads = Uploads(lambda: running.connection, name_chunk, MAX_CHUNK_BYTES)
    installs = Installs(running, uploads, run_in_background)
    handlers = {
        "install": lambda request: installs.begin(request.arguments),
        "status": lambda _: {"uploads": uploads.counts},
    }
    policy, used = CommandPolicy(True, make_callers(config)), UsedFile(config.state_dir / "commands.used")
    client = MqttClient(make_mqtt_settings(config.device, config.mqtt), crashes)
    topics = Topics("edge", config.device)
    commands = CommandListener(client, partial(CommandHandler, handlers, policy, used), topics, crashes)
    running.connection = BrokerConnection(topics, client, commands, ())
    client.start()
    signal.pause()


class InstallBox:
    """The process, started and killed by the test."""

    def __init__(self, folder: Path, port: int) -> None:
        self.file, self.state = folder / "box.yaml", folder / "state"
        self.state.mkdir()
        self.file.write_text(TEXT.format(folder=folder, port=port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.install_box", str(self.file)]
        self._process = subprocess.Popen(command, cwd=ROOT)

    def kill(self) -> None:
        process, self._process = self._process, None
        kill(process)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
