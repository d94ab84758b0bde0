"""What the operator does, and its effect: on the box itself, and on the topics that others see."""

import json
import time
from typing import Any

import yaml

from benchmarks.commands.remote.checks import Place, data_of, require
from benchmarks.commands.remote.site import DEVICE, NAME

HAZE = {"drift": "haze", "drift_at_s": 0}
LONG, WAIT_S = {"model": "parts", "timeout_s": 900}, 960
"""Arguments of a command that is answered with its outcome, and how long the client waits for that."""
SETTLING_S = 12.0
"""So many new pictures fill the reference set, at 10 frames/s."""


class GoodSteps:
    """Each method is a row of the table; gives what was seen."""

    def __init__(self, place: Place) -> None:
        self._hub, self._office, self._box = place.hub, place.office, place.box

    def ask_status(self) -> str:
        """A viewer's question, from Python."""
        data = data_of(self._office.send_by_python("status", key="panel"))
        require(data["models"]["parts"]["generation"] == f"{NAME}/1", data["models"])
        return f"{len(json.dumps(data))} bytes, {data['models']['parts']['generation']}"

    def commission(self) -> str:
        """The baseline that a recalibration needs."""
        answer = data_of(self._office.send("commission", LONG, wait_s=WAIT_S))
        require(answer["outcome"] == "recorded", answer)
        return f"baseline {answer['name']} of {answer['frames']} frames"

    def let_haze_come(self) -> str:
        """By the configuration of the demo's camera, since there is no lens to breathe on."""
        answer = data_of(self._office.send("set-config", {"set": {"cameras.belt.demo": HAZE}}, key="plant"))
        found = self._box.wait(lambda now: (_part(now)["drift"] or {}).get("drifted"))
        time.sleep(SETTLING_S)
        return f"{answer['outcome']}; the box sees drift ({_part(found)['drift']['verdict']})"

    def recalibrate_dry(self) -> str:
        """The answer says what the gate decided, and nothing has changed."""
        before = self._kept()
        answer = data_of(self._office.send("recalibrate", {**LONG, "dry_run": True}, wait_s=WAIT_S))
        require(answer["outcome"] == "dry_run" and answer["accepted"], answer)
        require(self._kept() == before, self._kept())
        return f"the gate would accept {answer['candidate']!r}; still {before['generation']}"

    def _kept(self) -> dict[str, Any]:
        """What a dry run must leave as it is."""
        now = self._box.status()
        return {"generation": now["models"]["parts"]["generation"], "accepted": _part(now)["accepted"]}

    def recalibrate(self) -> str:
        """The results are those of the patched model."""
        answer = data_of(self._office.send("recalibrate", LONG, wait_s=WAIT_S))
        require(answer["outcome"] == "accepted", answer)
        return self._answers_as(f"{NAME}/1+{answer['patch']}")

    def roll_back(self) -> str:
        """The results are those of the model without its patch."""
        data_of(self._office.send_by_python("rollback", {"model": "parts"}))
        return self._answers_as(f"{NAME}/1")

    def install(self) -> str:
        """From the registry; the box's rollout tries it, and then the results are those of the new version."""
        reference = self._hub.publish_version(2)
        answer = data_of(self._office.send("install", {"from": reference}, key="plant"))
        require((answer["bundle"], answer["outcome"]) == (f"{NAME}/2", "installed"), answer)
        return f"{answer['downloaded_bytes']} bytes, the others were there; {self._answers_as(f'{NAME}/2')}"

    def install_in_chunks(self) -> str:
        """The same over the broker, with the lines of the page."""
        archive = self._hub.pack_version(3)
        answer = data_of(self._office.upload(archive, key="plant"))
        require((answer["bundle"], answer["outcome"]) == (f"{NAME}/3", "installed"), answer)
        return f"{answer['downloaded_bytes']} bytes; {self._answers_as(f'{NAME}/3')}"

    def edit(self) -> str:
        """First dry."""
        values = {"set": {"cameras.belt.fps": 4}}
        outcome = data_of(self._office.send("set-config", {**values, "dry_run": True}, key="plant"))[
            "outcome"
        ]
        require(outcome == "checked" and self._fps() == 10, outcome)
        outcome = data_of(self._office.send("set-config", values, key="plant"))["outcome"]
        require(outcome == "in_force" and self._fps() == 4, outcome)
        return "checked, then in force: fps 10 to 4"

    def undo(self) -> str:
        """The edit before."""
        outcome = data_of(self._office.send("undo-config", key="plant"))["outcome"]
        require(outcome == "in_force" and self._fps() == 10, outcome)
        return "in force: fps 4 to 10"

    def _fps(self) -> float:
        text = data_of(self._office.send("get-config"))["text"]
        return float(yaml.safe_load(text)["cameras"]["belt"]["fps"])

    def _answers_as(self, generation: str) -> str:
        """Wait until the status has it; results then have it as well, as another user at the office sees."""
        self._box.wait(lambda now: now["models"]["parts"]["generation"] == generation)
        login = ("-u", "panel", "-P", self._hub.password("panel"))
        self._office.hear(f"edge/{DEVICE}/result/belt", *login)  # one may have been under way
        result = json.loads(self._office.hear(f"edge/{DEVICE}/result/belt", *login))
        require(result["generation"] == generation, result)
        return f"results of {generation}"


def _part(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = status["models"]["parts"]["recalibration"]
    return found
