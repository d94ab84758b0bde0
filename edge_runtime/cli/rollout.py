"""``edge-runtime rollout``: what becomes of newer versions of a model, asked and steered over the broker."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from edge_runtime.cli.options import CONFIG, JSON, MODEL, SIGNING_KEY, TIMEOUT, print_indented
from edge_runtime.errors import ExitCode


def _with_common_options(command: Callable[..., int]) -> Callable[..., int]:
    return CONFIG(MODEL(SIGNING_KEY(TIMEOUT(JSON(command)))))


@click.group("rollout")
def rollout_group() -> None:
    """Look at and steer how a newer version takes over.

    CONFIG describes the box.

    Versions are put there by 'bundle install'; a model with a section 'rollout' tries them: in the shadow, on a part of
    the frames, on all of them under watch, and for good.
    """


@rollout_group.command()
@_with_common_options
def status(config: Path, as_json: bool, **how: Any) -> int:
    """Show which version answers, and how far a newer one is."""
    return _send(config, "status", _describe, as_json, **how)


@rollout_group.command()
@_with_common_options
def history(config: Path, as_json: bool, **how: Any) -> int:
    """Show every step of every rollout that is kept."""
    return _send(config, "history", _describe_steps, as_json, **how)


def _steer(action: str, text: str) -> click.Command:
    def carry_out(config: Path, as_json: bool, **how: Any) -> int:
        return _send(config, action, _describe, as_json, **how)

    carry_out.__doc__ = text
    return click.command(action)(_with_common_options(carry_out))


for _action, _text in {
    "promote": "Let the candidate answer everything, now. While it is watched: make it active for good.",
    "abort": "Take the candidate out; it is not tried again by itself.",
    "pause": "Keep the candidate in its stage. It can still fail; 'resume' goes on.",
    "resume": "Go on after a pause; the time of the stage begins anew.",
}.items():
    rollout_group.add_command(_steer(_action, _text))


@rollout_group.command()
@_with_common_options
@click.argument("version", type=click.IntRange(min=1))
def retry(config: Path, version: int, as_json: bool, **how: Any) -> int:
    """Try the refused VERSION again."""
    return _send(config, "retry", _describe_retry, as_json, version=version, **how)


def _send(
    path: Path,
    action: str,
    describe: Callable[[Mapping[str, Any]], list[str]],
    as_json: bool,
    *,
    model: str | None,
    timeout_s: float,
    key: Path | None,
    version: int | None = None,
) -> int:
    from edge_runtime.cli.remote import send_command
    from edge_runtime.config import load_address

    given = {"action": action, "model": model, "version": version}
    arguments = {name: value for name, value in given.items() if value is not None}
    answer = send_command(load_address(path, os.environ), "rollout", arguments, timeout_s, key=key)
    is_good = answer.get("status") == "ok"
    if as_json:
        print_indented(answer)
    elif is_good:
        click.echo("\n".join(describe(answer["data"])))
    else:
        click.echo(f"error: {answer.get('error')}", err=True)
    return 0 if is_good else ExitCode.DATA


def _describe(data: Mapping[str, Any]) -> list[str]:
    active, before, candidate = data["active"], data["previous"], data["candidate"]
    if data["stage"] in {
        "watched",
        "active",
    }:  # the candidate answers everything; the active version stays loaded
        active, before = candidate, active
    lines = [f"version {active} answers{f', before it version {before}' if before else ''}"]
    if candidate is None:
        lines.append("no newer version is on its way")
    else:
        lines += _describe_candidate(data)
        if waiting := data.get("waiting"):  # a box of an earlier release gives none
            lines.append(f"waiting behind it: {', '.join(map(str, waiting))}")
    lines += [f"version {number} is refused: {why}" for number, why in data["refused"].items()]
    return [*lines, *([f"problem: {data['problem']}"] if data["problem"] else [])]


def _describe_candidate(data: Mapping[str, Any]) -> list[str]:
    findings, verdict = data["findings"], data["verdict"]
    is_said = verdict is None or any(one["text"] in verdict for one in findings)  # the findings below say it
    progress = "" if is_said else f"; {verdict}"
    lines = [f"version {data['candidate']}: {data['stage']} for {data['stage_s']:.0f} s{progress}"]
    if data["paused"]:
        lines.append(f"  paused until promote, abort or resume: {data['paused']}")
    if at := data.get("promotes_at"):  # a box of an earlier release gives none
        lines.append(f"  answers everything from {at} on, unless it fails or is aborted before")
    lines += [
        f"  {one['kind']:<12} {one['text']}{' (dry run)' if one['is_dry_run'] else ''}" for one in findings
    ]
    compared = data.get("comparisons", [])  # a box of an earlier release gives none
    if compared:
        on = "the same frames" if compared[0]["is_paired"] else "frames of each"
        lines.append(f"  version {data['candidate']} minus version {data['active']}, on {on}, 95% intervals:")
    return lines + [f"    {one['text']}" for one in compared]


def _describe_retry(data: Mapping[str, Any]) -> list[str]:
    lines = _describe(data)
    return (
        lines
        if data["candidate"]
        else [*lines, "it begins within seconds: 'rollout status' shows how far it is"]
    )


def _describe_steps(data: Mapping[str, Any]) -> list[str]:
    from edge_runtime.system.rfc3339 import format_rfc3339

    lines = [
        f"{format_rfc3339(step['at_wall_s'])}  {step['bundle']:<20} {_describe_step(step):<19} {step['reason']}"
        for step in data["steps"]
    ]
    return lines or ["no version was ever rolled out"]


def _describe_step(step: Mapping[str, Any]) -> str:
    """A pause, its end and the beginning of a trial change no stage."""
    before, after = step["before"], step["stage"]
    return f"{after:>8}" if before == after else f"{before:>8} -> {after}"
