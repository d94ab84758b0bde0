"""A box as the command ``install`` sees it: configuration, store, and a broker that hands over what is published."""

import hashlib
from types import SimpleNamespace

from edge_runtime.bundles.travel.chunks import MAX_CHUNK_BYTES, name_chunk
from edge_runtime.config import parse_config
from edge_runtime.daemon.installs import Installs
from edge_runtime.daemon.running import Running
from edge_runtime.messaging.commands.request import check_arguments
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.uploads import Uploads
from edge_runtime.system.priority import run_in_background
from tests.support.bundle_store import make_bundle, pack
from tests.support.progress import Heard

TEXT = """
device: box
state_dir: {folder}/state
models:
  parts: {{bundle: photos, rollout: {{}}}}
  other: {{bundle: photos, version: 7}}
  demo: {{bundle: demo:efficientnet-lite0}}
cameras: {{belt: {{path: pictures, model: parts}}}}
"""


class Client:
    """Hands what is published to who has subscribed."""

    def __init__(self):
        self.handlers, self.session, self.is_allowed = [], object(), True

    def subscribe(self, topic_filter, handler):
        assert topic_filter == "edge/box/upload/+"
        self.handlers.append(handler)
        return lambda: self.handlers.remove(handler)

    def is_subscribed(self, _):
        return self.is_allowed

    def publish(self, name, data):
        for handler in tuple(self.handlers):
            handler(Message(f"edge/box/upload/{name}", data))


class InstallBench:
    """See the module."""

    def __init__(self, folder, bundles="{}"):
        self.folder = folder
        text = TEXT.format(folder=folder) + f"bundles: {bundles}\n"
        self.running = Running(parse_config(text, "box.yaml", {}))
        self.connect()
        self.uploads = Uploads(lambda: self.running.connection, name_chunk, MAX_CHUNK_BYTES)
        self.installs = Installs(self.running, self.uploads, run_in_background)
        self.root = self.running.config.bundles_folder

    def connect(self):
        """As an edit of the broker's settings does."""
        self.client = Client()
        self.running.connection = SimpleNamespace(client=self.client, topics=Topics("edge", "box"))

    def begin(self, **arguments):
        """Check it as the lane of the commands does; gives what is to be done later."""
        return self.installs.begin(check_arguments("install", arguments)).work

    def install(self, **arguments):
        return self.begin(**arguments)(Heard())


class Archive:
    """An archive of a bundle, its hash, and its chunks."""

    def __init__(self, folder, *, version=1, chunk_bytes=16 * 1024, **keys):
        folder.mkdir(parents=True, exist_ok=True)
        self.bundle = make_bundle(folder / f"v{version}", version=version, **keys)
        self.path = pack(self.bundle, folder / f"photos-{version}.tar")
        self.data = self.path.read_bytes()
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.cut(chunk_bytes)

    def cut(self, chunk_bytes):
        self.pieces = [self.data[at : at + chunk_bytes] for at in range(0, len(self.data), chunk_bytes)]
        self.names = [name_chunk(one) for one in self.pieces]
        self.command = {"chunks": self.names, "size_bytes": len(self.data)}
