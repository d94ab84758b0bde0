"""A box is commanded from another machine, over TLS with password and access rules, by stock tools alone.

``python -m benchmarks run commands-remote``, as root. Three machines, which are network namespaces: *box* and *office*
each have a cable to *hub* and none to each other, so that every effect came over the broker. The texts are those of
docs/operations.md (broker, access rules) and docs/commands.md (keys, shell, Python). Exit code 1: a command had another
answer or effect than it should have.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.commands.remote.bad_steps import BadSteps, Step
from benchmarks.commands.remote.checks import Place, Wrong
from benchmarks.commands.remote.good_steps import GoodSteps
from benchmarks.commands.remote.machines import Unusable, connect, machines, require_programs
from benchmarks.commands.remote.office import NotAnswered, Office
from benchmarks.commands.remote.site import BOX_ADDRESS, DEVICE, EdgeBox, Hub

BROKER_FOR = {"hub": "127.0.0.1", "box": "10.77.1.1", "office": "10.77.2.1"}
"""The broker's address, as each machine knows it."""
ELSEWHERE = "oci://elsewhere.example/acme/parts:4"
OFFICE_ADDRESS = "10.77.2.2"


def _list_steps(place: Place) -> Iterator[tuple[str, Step]]:
    good, bad = GoodSteps(place), BadSteps(place)
    yield "status (viewer, Python)", good.ask_status
    yield "commission (operator, shell)", good.commission
    yield "set-config: haze comes (owner, shell)", good.let_haze_come
    yield "recalibrate, dry (operator, shell)", good.recalibrate_dry
    yield "recalibrate (operator, shell)", good.recalibrate
    yield "rollback (operator, Python)", good.roll_back
    yield "install from the registry (owner, shell)", good.install
    yield "install in chunks (owner, shell)", good.install_in_chunks
    yield "set-config, dry, then real (owner, shell)", good.edit
    yield "undo-config (owner, shell)", good.undo
    yield "the box without the broker", bad.reach_directly
    yield "a broker of another authority", bad.trust_another
    yield "wrong password", bad.log_in_as("anna", "guess")
    yield "user who may not command", bad.log_in_as("panel", place.hub.password("panel"))
    yield "operator publishes a result", bad.publish("anna", f"edge/{DEVICE}/result/belt")
    yield "box speaks for another box", bad.publish(DEVICE, "edge/belt-4/event")
    yield "operator listens to results", bad.eavesdrop
    yield "unsigned", bad.command_unsigned
    yield "unknown key", bad.command("rollback", "mallory")
    yield "viewer rolls back", bad.command("rollback", "panel")
    yield "operator edits", bad.command("set-config", "anna", {"set": {"cameras.belt.fps": 1}})
    yield "operator installs", bad.command("install", "anna", {"from": ELSEWHERE})
    yield "install from elsewhere", bad.command("install", "plant", {"from": ELSEWHERE})
    yield "answer to another device's topic", bad.answer_as_another


def _try(place: Place) -> bool:
    """Take all steps and print the table; a fault does not end the trial. Whether all was as it should be."""
    is_right = True
    click.echo("| command | what came of it | s |\n|---|---|---|")
    for name, act in _list_steps(place):
        began_s = time.monotonic()
        try:
            seen = act()
        except (Wrong, NotAnswered, Unusable) as err:
            is_right, seen = False, f"**WRONG**: {err}"
        click.echo(f"| {name} | {seen} | {time.monotonic() - began_s:.1f} |")
    return is_right


@click.command()
def main() -> None:
    """Command a box from another machine and print what came of it. Needs root; takes four minutes."""
    hosts = {name: {"broker.example": address} for name, address in BROKER_FOR.items()}
    try:
        require_programs()
        with tempfile.TemporaryDirectory(prefix="remote-") as folder, machines(Path(folder), hosts) as made:
            connect(made["box"], BOX_ADDRESS, made["hub"], BROKER_FOR["box"])
            connect(made["office"], OFFICE_ADDRESS, made["hub"], BROKER_FOR["office"])
            hub = Hub(made["hub"], secret="7c1f")
            office = Office(made["office"], DEVICE, hub.ca, hub.password("anna"))
            is_right = _try(Place(hub, office, EdgeBox(made["box"], hub, office)))
    except Unusable as err:
        raise click.ClickException(str(err)) from err
    raise SystemExit(0 if is_right else 1)
