"""Kills -9 of a daemon while a command runs: ``python -m benchmarks run commands-killed --count 40 --seed 1``.

A signed command is sent, the daemon is killed at a random moment until shortly after the command is done, and started
again; then the caller sends the same bytes once more, as one does who got no answer. Counted for each verb: how often
the command acted, by what is left on the disk, and what its caller was told. It must never act twice.
"""

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.commands.killed_box import Box, wait_until
from benchmarks.commands.killed_verbs import Commission, Rollback, SetConfig, UndoConfig, Verb, put_patches
from benchmarks.performance.peers.mqtt_load import broker
from edge_runtime.messaging.commands.command_log import LOG_FILE, read_log

AFTER_OK_S = 20.0
"""For an effect that comes after the answer."""
ROLLBACK_S = 0.6
"""About what it takes: a box has patches to roll back only when they were put there before its start."""
VERBS: dict[str, Callable[[], Verb]] = {
    one.name: one for one in (SetConfig, UndoConfig, Rollback, Commission)
}
ROUNDS = ("set-config", "undo-config", "commission", "rollback")
"""The command that is under way at a kill, in turn. Not two: a new baseline takes patches back, as a roll-back does."""


@dataclass(slots=True)
class Sent:
    """A command, and what its caller was told."""

    verb: Verb
    transaction: str
    request: bytes
    told: list[str] = field(default_factory=list)
    """Of every answer, in order: ``ok``, ``error``, or ``logged``: it was done, by the log of commands."""
    acts_until_kill: int = 0
    acts: int = 0


class Killer:
    """Kills one box, round by round."""

    def __init__(self, box: Box, seed: int) -> None:
        self._box, self._random, self._number = box, random.Random(seed), 0
        self._verbs = {name: make() for name, make in VERBS.items()}
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in VERBS}
        self.takes_s: dict[str, float] = {}
        """How long each takes that is not killed."""
        self.faults: list[str] = []

    def measure(self, name: str) -> float:
        """Seconds that a command takes without a kill, until its effect is there.

        Raises:
            TimeoutError: it has none.
        """
        one, began_s = self._make(name), time.monotonic()
        self._box.send(name, one.request)
        if not wait_until(lambda: bool(self._answers(one)) and one.verb.is_done(self._box)):
            raise TimeoutError(f"{name}: {self._answers(one)}")
        return time.monotonic() - began_s

    def kill_once(self, names: Sequence[str], span_s: float, *, stage_patches: bool = False) -> None:
        """Kill it within so many seconds after commands were sent, start it, and send the same bytes again."""
        box, sent = self._box, [self._make(name) for name in names]
        for one in sent:
            box.send(one.verb.name, one.request)
        time.sleep(self._random.uniform(0, span_s))
        box.kill()
        for one in sent:
            one.told = self._answers(one)
            self.counts[one.verb.name]["answered_before_the_kill"] += bool(one.told)
        if stage_patches:
            put_patches(box.state)
        box.start()
        for one in sent:
            self.counts[one.verb.name]["answered_unasked_after_it"] += len(self._answers(one)) > len(one.told)
            one.verb.disturb(box)
        for one in sent:
            self._repeat(one)
            self._judge(one)

    def _repeat(self, one: Sent) -> None:
        box = self._box
        one.acts_until_kill, seen = one.verb.count(box), len(self._answers(one))
        box.send(one.verb.name, one.request)
        if not wait_until(lambda: len(self._answers(one)) > seen):
            self.faults.append(f"{one.verb.name}: the repetition was not answered")
        one.told = self._answers(one)
        if one.told[-1:] == ["ok"]:
            wait_until(lambda: one.verb.is_done(box), AFTER_OK_S)
        one.acts = one.verb.count(box)

    def _make(self, name: str) -> Sent:
        self._number += 1
        verb, transaction = self._verbs[name], f"killed-{self._number}"
        verb.prepare(self._box)
        return Sent(verb, transaction, self._box.make(name, transaction, verb.make_arguments()))

    def _answers(self, one: Sent) -> list[str]:
        answers = self._box.answers(one.transaction)
        return [
            "logged" if answer.get("error", "").endswith(": ok") else answer["status"] for answer in answers
        ]

    def _judge(self, one: Sent) -> None:
        counts = self.counts[one.verb.name]
        counts["commands"] += 1
        is_known = not {"ok", "logged"}.isdisjoint(one.told)
        counts["said_done"] += is_known
        counts["said_not_known"] += not is_known
        counts["done_by_the_repetition"] += one.acts > one.acts_until_kill
        counts["acted_once"] += one.acts == 1
        counts["never_acted"] += one.acts == 0
        counts["acted_twice"] += one.acts > 1
        counts["said_done_and_was_not"] += is_known and one.acts == 0
        if one.acts > 1:
            self.faults.append(f"{one.verb.name} acted {one.acts} times: {one.told}")


def kill_at_random(folder: Path, port: int, count: int, seed: int) -> Killer:
    """So many kills."""
    box = Box(folder, port)
    try:
        box.start()
        killer = Killer(box, seed)
        killer.measure("commission")  # without a baseline no patch stays
        measured = ("set-config", "undo-config", "commission")
        killer.takes_s = {name: killer.measure(name) for name in measured} | {"rollback": ROLLBACK_S}
        for number in range(count):
            name, following = ROUNDS[number % len(ROUNDS)], ROUNDS[(number + 1) % len(ROUNDS)]
            killer.kill_once([name], 1.5 * killer.takes_s[name], stage_patches=following == "rollback")
        killer.faults += [problem] if (problem := read_log(box.state / LOG_FILE).problem) else []
    finally:
        box.close()
    return killer


@click.command()
@click.option("--count", type=click.IntRange(1), default=40, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Kill a daemon while commands run and print what became of them, as JSON."""
    with tempfile.TemporaryDirectory(prefix="killed-") as name, broker(Path(name)) as port:
        killer = kill_at_random(Path(name), port, count, seed)
    total = sum(killer.counts.values(), Counter())
    found = {name: dict(one) for name, one in killer.counts.items()}
    shown = {"kills": count, "takes_s": killer.takes_s, **found, "all": dict(total), "faults": killer.faults}
    click.echo(json.dumps(shown, indent=2))
    raise SystemExit(1 if killer.faults else 0)
