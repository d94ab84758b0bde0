"""``edge-runtime baseline``: look after the baselines of a box, over its broker or in its state directory."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.cli.options import CONFIG, JSON, MODEL, PATH, SECONDS, SIGNING_KEY, TIMEOUT, print_indented
from edge_runtime.errors import ExitCode

if TYPE_CHECKING:
    from edge_runtime.recalibration.task import Verb

OFFLINE = click.option(
    "--offline", is_flag=True,
    help="Work on the state directory of a stopped daemon, also where there is a broker.",
)  # fmt: skip
NAME = click.argument("name", required=False)


def _with_common_options(command: Callable[..., int]) -> Callable[..., int]:
    return MODEL(OFFLINE(SIGNING_KEY(TIMEOUT(JSON(command)))))


@click.group("baseline")
def baseline_group() -> None:
    """Look after the baselines of a box: day, night, winter.

    CONFIG describes the box.

    With a broker in CONFIG the command goes to the running daemon; without, or with --offline, to the state directory.
    """


@baseline_group.command("list")
@CONFIG
@_with_common_options
def show(config: Path, as_json: bool, **how: Any) -> int:
    """Show all baselines with their facts, and which one is in use."""
    return _print(_carry_out(config, "baselines", **how), as_json)


@baseline_group.command()
@CONFIG
@NAME
@click.option("--expires-days", type=SECONDS, help="How long that holds.")
@_with_common_options
def approve(config: Path, name: str | None, expires_days: float | None, as_json: bool, **how: Any) -> int:
    """Confirm that the site is as healthy as the baseline shows it.

    Without NAME it is the one in use.
    """
    return _print(_carry_out(config, "approve", name, expires_days, **how), as_json)


baseline_group.add_command(
    click.Command(
        "bless", params=approve.params, callback=approve.callback, hidden=True, deprecated="use 'approve'"
    )
)


@baseline_group.command()
@CONFIG
@NAME
@_with_common_options
def expire(config: Path, name: str | None, as_json: bool, **how: Any) -> int:
    """Make no more patches from the baseline NAME.

    Without NAME it is the one in use.
    """
    return _print(_carry_out(config, "expire", name, **how), as_json)


@baseline_group.command()
@CONFIG
@click.argument("name")
@_with_common_options
def remove(config: Path, name: str, as_json: bool, **how: Any) -> int:
    """Forget the baseline NAME for good."""
    return _print(_carry_out(config, "remove", name, **how), as_json)


@baseline_group.command()
@CONFIG
@click.argument("file", type=PATH)
@click.option("--name", help="What to call it here; without: its own name.")
@MODEL
@JSON
def add(config: Path, file: Path, name: str | None, model: str | None, as_json: bool) -> int:
    """Put a baseline FILE from elsewhere into this box.

    Such as a pooled one; it goes into the state directory.

    A running daemon finds it when it lists its baselines, and at its next start.
    """
    from edge_runtime.cli.baseline.offline import add_baseline
    from edge_runtime.config import load_config

    added = add_baseline(load_config(config, os.environ), model, file, name)
    return _print({"status": "ok", "data": added}, as_json)


def _carry_out(
    path: Path,
    verb: "Verb",
    name: str | None = None,
    expires_days: float | None = None,
    *,
    model: str | None,
    offline: bool,
    timeout_s: float,
    key: Path | None,
) -> dict[str, Any]:
    """The answer of the daemon, or of its state directory."""
    from edge_runtime.config import load_address, load_config

    address = None if offline else load_address(path, os.environ)
    if address is None or address.mqtt is None:
        from edge_runtime.cli.baseline.offline import carry_out_offline
        from edge_runtime.recalibration.task import Approval, TaskRequest

        request = TaskRequest(verb, approval=Approval(name, expires_days))
        config = load_config(path, os.environ)
        return {"status": "ok", "data": carry_out_offline(config, model, request, time.time())}
    from edge_runtime.cli.remote import send_command

    given = {"model": model, "name": name, "expires_days": expires_days}
    arguments = {argument: value for argument, value in given.items() if value is not None}
    return send_command(address, verb, arguments, timeout_s, key=key)


def _print(answer: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_indented(answer)
    elif answer.get("status") != "ok":
        click.echo(f"error: {answer.get('error')}", err=True)
    else:
        click.echo("\n".join(_lines(answer["data"])))
    return 0 if answer.get("status") == "ok" else ExitCode.DATA


def _lines(data: dict[str, Any]) -> list[str]:
    if "baselines" not in data:
        return [f"{key}: {_format(key, value)}" for key, value in data.items() if value not in (None, [])]
    lines = [_line(name, facts, data["in_use"] == name) for name, facts in data["baselines"].items()]
    lines += [f"  {name}: not usable, {problem}" for name, problem in data["problems"].items()]
    return lines or ["no baseline yet; send 'commission' while the site is healthy"]


def _line(name: str, facts: dict[str, Any], is_in_use: bool) -> str:
    ends = facts["expires_wall_s"]
    until = "without end" if ends is None else f"until {_format('_wall_s', ends)}"
    state = "EXPIRED" if facts["is_expired"] else until
    recorded = _format("_wall_s", facts["recorded_wall_s"])
    worth = f"{facts['frames']} frames worth {facts['effective_frames']:.0f}"
    return f"{'*' if is_in_use else ' '} {name}: {worth}, recorded {recorded}, {state}"


def _format(key: str, value: object) -> str:
    if key.endswith("_wall_s") and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return str(value)
