"""A whole daemon as a process, its configuration file and the pages it serves."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache

import httpx

from edge_runtime.daemon.health import Health
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.http.openapi import describe
from edge_runtime.messaging.mqtt.topics import Topics
from tests.support.document_schemas import form_of
from tests.support.http_contract import Contract
from tests.support.mosquitto import free_port
from tests.support.mqtt_contract import MqttContract
from tests.support.paths import DEMO, ROOT
from tests.support.waiting import WAIT_S

MOST_CHECKED = 3
"""Answers of an address and form: a status after a recalibration has other keys than one of the start."""


@cache
def find_contract():
    """Of every box: to make it takes 0.15 s of CPU."""
    return Contract(describe(DaemonStatus, Health))


class Box:
    """An edge box: its folder, its configuration file, its daemon."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.file = folder / "box.yaml"
        self.state = folder / "state"
        self.process = None
        # One client, since each makes a TLS context of all authorities: 22 ms of CPU, at every look.
        one_request_a_connection = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=WAIT_S, trust_env=False, verify=False,
            limits=one_request_a_connection, event_hooks={"response": [self._check]},
        )  # fmt: skip
        self._checked = Counter()

    def show(self, token):
        """From now on with each request."""
        self._client.headers["Authorization"] = f"Bearer {token}"

    def write(self, text=None, **keys):
        defaults = {
            "device": "box",
            "state_dir": str(self.state),
            "models": {"parts": {"bundle": "demo:efficientnet-lite0"}},
            "http": {"port": self.port},
        }
        content = text if text is not None else json.dumps({**defaults, **keys})
        temporary = self.file.with_suffix(".new")
        temporary.write_text(content)
        temporary.replace(self.file)

    def start(self, *arguments, stdin=None):
        log = (self.folder / "log.txt").open("ab")
        command = [sys.executable, "-m", "edge_runtime", "run", str(self.file), *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=log, stderr=log)
        log.close()

    def wait(self, timeout_s=WAIT_S):
        return self.process.wait(timeout_s)

    def get(self, path):
        try:
            return self._client.get(path)
        except httpx.TransportError:
            return None

    def status(self):
        answer = self.get("/status")
        return answer.json() if answer is not None and answer.status_code == 200 else None

    def events(self):
        answer = self.get("/events")
        return [] if answer is None else answer.json()["events"]

    def is_ready(self):
        answer = self.get("/readyz")
        return answer is not None and answer.status_code == 200

    def results(self, kind="result"):
        """Of whole lines: the daemon may be writing the last one."""
        lines = []
        for path in sorted(self.state.glob("results.jsonl*"), reverse=True):
            whole = path.read_text().rpartition("\n")[0]
            lines += [json.loads(line) for line in whole.splitlines()]
        return [line["payload"] for line in lines if f"/{kind}/" in line["topic"]]

    def check_results_file(self):
        """Fail where the results file has a message that is not as the AsyncAPI document says."""
        contract = MqttContract(Topics("edge", "box"))
        for path in self.state.glob("results.jsonl*"):
            for line in path.read_bytes().rpartition(b"\n")[0].splitlines():
                message = json.loads(line)
                contract.check(message["topic"], json.dumps(message["payload"]).encode())

    def _check(self, answer):
        """The first answers of each form are as the OpenAPI document says; most looks are like those before."""
        answer.read()
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        form = form_of(answer.json()) if is_json else None
        about = answer.request.url.path, answer.status_code, form
        self._checked[about] += 1
        if self._checked[about] <= MOST_CHECKED:
            find_contract().check(answer)

    def log(self):
        return (self.folder / "log.txt").read_text()


def folder_camera(box, count=None, **options):
    pictures = box.folder / "pictures"
    pictures.mkdir()
    for path in sorted((DEMO / "pictures").glob("*.jpg"))[:count]:
        shutil.copy(path, pictures)
    return {"belt": {"path": str(pictures), "model": "parts", **options}}


def conveyor(**options):
    return {"belt": {"path": "demo:conveyor", "model": "parts", "fps": 15, **options}}
