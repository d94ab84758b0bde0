"""Give a fleet a new version of a model: one box first, the others when it has proved itself there.

Needs nothing of edge-runtime, only ``pip install joserfc paho-mqtt``, and the password of the broker's user in the
environment, MQTT_PASSWORD::

    python fleet_rollout.py --broker broker.example --ca ca.pem --user anna --key anna --group line-3
        --model parts --version 4 --from oci://registry.example.org/acme/parts:4 belt-1 belt-2 belt-3

The first box is the canary. Each box installs the version and tries it as its section ``rollout`` says; this program
waits for the verdicts. The others get one command, to their group. Run it again after an interruption: a box that has
the version says so. Exit code 0: active on all; 1: not on the canary, no other box was asked; 2: not on all others.
"""

import argparse
import json
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from joserfc import jwk, jws
from paho.mqtt.enums import CallbackAPIVersion

ANSWER_S, POLL_S, CLOCKS_DIFFER_S = 10.0, 2.0, 60.0
Answers = dict[str, dict[str, Any]]


class Fleet:
    """Boxes behind a broker, commanded with one key."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Connect, and listen to the answers of all boxes."""
        self._key, self._heard = jwk.OKPKey.import_key(given.key.read_text()), queue.SimpleQueue[Any]()
        self._client, is_listening = mqtt.Client(CallbackAPIVersion.VERSION2), threading.Event()
        topics = [("edge/+/response/install", 1), ("edge/+/response/rollout", 1)]
        self._client.on_connect = lambda client, *_: client.subscribe(topics)
        self._client.on_subscribe = lambda *_: is_listening.set()
        self._client.on_message = lambda _, __, message: self._heard.put(message)
        if given.ca:
            self._client.tls_set(given.ca)
        self._client.username_pw_set(given.user, os.environ.get("MQTT_PASSWORD"))
        self._client.connect(given.broker, given.port)
        self._client.loop_start()
        if not is_listening.wait(ANSWER_S):
            sys.exit("the broker does not take the connection; are user and password right?")

    def ask(
        self, to: str, verb: str, arguments: dict[str, Any], boxes: Collection[str], wait_s: float
    ) -> Answers:
        """What ``boxes`` answer to a command to ``DEVICE`` or ``groups/GROUP``; the silent ones are missing."""
        if not boxes:
            return {}
        audience, jti = to.rpartition("/")[2], uuid.uuid4().hex
        claims = {
            "aud": audience,
            "exp": time.time() + CLOCKS_DIFFER_S + wait_s,
            "jti": jti,
            "verb": verb,
            "arguments": arguments,
        }
        head = {"alg": "Ed25519", "kid": self._key.thumbprint()}
        token = jws.serialize_compact(head, json.dumps(claims), self._key, algorithms=["Ed25519"])
        self._client.publish(f"edge/{to}/request/{verb}", token, qos=1)
        found: Answers = {}
        end_s = time.monotonic() + wait_s
        while set(boxes) - found.keys() and (left_s := end_s - time.monotonic()) > 0:
            with suppress(queue.Empty):
                message = self._heard.get(timeout=left_s)
                box, answer = message.topic.split("/")[1], json.loads(message.payload)
                if box in boxes and answer["transaction"] == jti:
                    found[box] = answer
        return found


def find_verdict(rollout: dict[str, Any], version: int) -> str | None:
    """What a box has decided about the version, from its ``rollout status``; None: nothing yet."""
    if rollout["active"] == version:
        return "active"
    if why := rollout["refused"].get(str(version)):
        return f"refused: {why}"
    return f"waits for a person: {rollout['paused']}" if rollout["paused"] else None


def roll_out(fleet: Fleet, to: str, boxes: list[str], given: argparse.Namespace) -> bool:
    """Install the version on these boxes, wait for their verdicts and print them; whether it is active on all."""
    question, origin = {"model": given.model, "action": "status"}, {"from": given.origin}
    if given.sha256:
        origin["sha256"] = given.sha256
    verdicts: dict[str, str | None] = dict.fromkeys(boxes, "does not answer")
    for box, answer in fleet.ask(to, "rollout", question, boxes, ANSWER_S).items():
        is_known = answer["status"] == "ok"
        verdicts[box] = find_verdict(answer["data"], given.version) if is_known else answer["error"]
    undecided = {box for box, verdict in verdicts.items() if verdict is None}
    for box, answer in fleet.ask(to, "install", origin, undecided, given.wait_s).items():
        verdicts[box] = answer.get("error")
    end_s = time.monotonic() + given.wait_s
    while (undecided := {box for box in undecided if verdicts[box] is None}) and time.monotonic() < end_s:
        for box, answer in fleet.ask(to, "rollout", question, undecided, ANSWER_S).items():
            if answer["status"] == "ok":
                verdicts[box] = find_verdict(answer["data"], given.version)
        time.sleep(POLL_S)
    for box in boxes:
        print(f"{box}: {verdicts[box] or 'no verdict in time'}", flush=True)
    return all(verdict == "active" for verdict in verdicts.values())


def main() -> int:
    """Read the command line, and roll out."""
    parser = argparse.ArgumentParser(description="Roll a new version out over a fleet, one box first.")
    parser.add_argument("boxes", nargs="+", help="devices; the first one is the canary")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--port", type=int, default=8883)
    parser.add_argument("--ca", help="certificate of the broker's authority; without: no TLS")
    parser.add_argument("--user", help="of the broker")
    parser.add_argument("--key", type=Path, required=True, help="private key of an owner")
    parser.add_argument("--group", required=True, help="of the other boxes")
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--from", dest="origin", required=True, help="oci://... or https://...")
    parser.add_argument("--sha256", help="of the file at an https address")
    parser.add_argument("--wait-s", type=float, default=3600.0, help="for an installation, and for a verdict")
    given = parser.parse_args()
    fleet, (canary, *others) = Fleet(given), given.boxes
    if not roll_out(fleet, canary, [canary], given):
        print(f"stopped: version {given.version} is not active on {canary}; no other box was asked")
        return 1
    return 0 if roll_out(fleet, f"groups/{given.group}", others, given) else 2


if __name__ == "__main__":
    sys.exit(main())
