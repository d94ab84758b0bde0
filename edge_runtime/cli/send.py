"""``edge-runtime send``: the commands that a running device obeys, sent over its broker: the caller's end."""

import base64
import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from edge_runtime.cli.options import (
    EXISTING_FILE,
    MODEL,
    ONLY_JSON,
    PATH,
    SECONDS,
    SIGNING_KEY,
    TIMEOUT,
    OutputFile,
    print_indented,
)
from edge_runtime.cli.progress import Progress
from edge_runtime.cli.remote import REQUEST_EXPIRY_S, send_command, send_to_group
from edge_runtime.cli.upload import ChunkedFile
from edge_runtime.errors import ExitCode, StateError

TASKS, EDITS = ("commission", "recalibrate"), ("set-config", "undo-config")
"""Verbs whose end the device may wait for before it answers."""
ONLY_FOR = {
    "--wait": TASKS + EDITS,
    "--out": ("snapshot", "get-config"),
    "--text": ("set-config",),
    "--file": ("install",),
}
"""Options that are no arguments of the command, and their verbs."""
VERBS = {
    "status": "everything the device knows about itself",
    "commission": "approve what the cameras and sensors show now as healthy: a new baseline",
    "recalibrate": "try to correct the model for what its streams show now",
    "rollback": "back to the generation before: without the patch, or with the one before it",
    "approve-patch": "use the patch that waits, after its shadow if it needs one",
    "reject-patch": "never use the patch that waits or is in the shadow",
    "logs": "the newest lines of its log",
    "snapshot": "the next picture of a camera, where the configuration lets it leave",
    "get-config": "the configuration file, without secrets, and whether it is in force",
    "set-config": "change keys of the configuration file, or write a whole new one",
    "config-history": "which configurations were in force, since when, and who made them so",
    "undo-config": "put the configuration back that was in force before",
    "install": "put a version of a bundle into its store: --from oci://..., --from https://... or --file FILE.tar",
    "restart": "end in good order and start again, under systemd",
}
MOVED = {"baselines": "list", "bless": "approve"} | {verb: verb for verb in ("approve", "expire", "remove")}
"""Verbs for baselines, and the commands of ``edge-runtime baseline`` that send them now."""


@click.command(
    help="Send a command to a running device, print its answer.\n\nVERB is one of:\n\n\b\n"
    + "\n".join(f"  {verb:<14} {meaning}" for verb, meaning in VERBS.items())
    + "\n\nFor baselines: edge-runtime baseline --help. For new versions of a model: edge-runtime rollout --help"
)
@click.argument("verb", metavar="VERB", type=click.Choice([*VERBS, *MOVED]))
@click.option("--config", "config_path", required=True, type=PATH, help="The device's YAML file.")
@MODEL
@click.option("--stream", help="commission, recalibrate: only this stream's frames.")
@click.option("--reference", help="recalibrate: live, folder, or a set of recalibration.reference.sets.")
@click.option("--frames", type=click.IntRange(8, 4096), help="commission: how many frames from now on.")
@click.option("--name", help="commission: what to call the baseline, e.g. night.")
@click.option("--patch", help="approve-patch, reject-patch: its id; refused when another one waits by now.")
@click.option("--lines", type=click.IntRange(1, 500), help="logs: how many.")
@click.option("--camera", help="snapshot: whose picture.")
@click.option("--max-side", type=click.IntRange(16, 1920), help="snapshot: pixels of the longer side (640).")
@click.option("--quality", type=click.IntRange(1, 95), help="snapshot: of the JPEG (80).")
@click.option(
    "--out",
    type=OutputFile(),
    help="snapshot, get-config: the file for the JPEG or the text; the rest is printed.",
)
@click.option("--expires-days", type=SECONDS, help="commission: how many days that holds.")
@click.option(
    "--set", "values", multiple=True, metavar="KEY=VALUE", help="set-config: a new value, as in YAML."
)
@click.option("--remove", multiple=True, metavar="KEY", help="set-config: a key to take out.")
@click.option(
    "--text",
    "text_file",
    type=EXISTING_FILE,
    help="set-config: a whole new configuration file, instead of --set and --remove.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    default=None,
    help="recalibrate, set-config, undo-config: try it, and change nothing.",
)
@click.option(
    "--wait",
    "wait_s",
    is_flag=False,
    flag_value=math.inf,
    type=SECONDS,
    metavar="[SECONDS]",
    help="commission, recalibrate: answer with the outcome, or after so many seconds (7200) that it goes on; "
    "set-config, undo-config: how long the edit may take to be in force (60; without a number 900).",
)
@click.option("--number", type=click.IntRange(min=1), help="undo-config: which one of the history.")
@click.option(
    "--from", "source", help="install: oci://HOST/NAME:VERSION, or https://HOST/FILE with --sha256."
)
@click.option("--sha256", help="install: of the file at the https address.")
@click.option(
    "--file", type=EXISTING_FILE, help="install: an archive, as 'bundle pack' writes it, in chunks."
)
@click.option(
    "--chunk-kib",
    type=click.IntRange(1, 1024),
    default=128,
    show_default=True,
    help="install: of the chunks of --file.",
)
@click.option(
    "--group",
    help="To all devices that have this name in commands.groups; what each answers is printed by its name.",
)
@click.option(
    "--expires-s",
    type=SECONDS,
    default=REQUEST_EXPIRY_S,
    show_default=True,
    help="The device refuses the command later than this; more where its clock is wrong.",
)
@SIGNING_KEY
@TIMEOUT
@ONLY_JSON
def send(
    verb: str,
    config_path: Path,
    timeout_s: float,
    expires_s: float,
    key: Path | None,
    out: Path | None,
    text_file: Path | None,
    wait_s: float | None,
    file: Path | None,
    chunk_kib: int,
    group: str | None,
    **given: Any,
) -> int:
    """Send a command and print the answer; the help text above lists the verbs."""
    from edge_runtime.config import load_address

    _check_options(verb, {"--wait": wait_s, "--out": out, "--text": text_file, "--file": file}, group)
    if verb in MOVED:
        click.echo(f"send {verb} is now: edge-runtime baseline {MOVED[verb]} {config_path}", err=True)
    upload = None if file is None else ChunkedFile(file, chunk_kib * 1024)
    arguments = {**_read_arguments(given), **_add_arguments(verb, text_file, upload, wait_s)}
    address = load_address(config_path, os.environ)
    with Progress() as progress:
        tell = partial(show_progress, progress)
        if group is not None:
            answers = send_to_group(
                address, group, verb, arguments, timeout_s, expires_s=expires_s, key=key, on_progress=tell
            )
        else:
            answer = send_command(
                address, verb, arguments, timeout_s,
                expires_s=expires_s, key=key, on_progress=tell, upload=upload,
            )  # fmt: skip
            answers = {address.device: answer}
    if out is not None and answer.get("status") == "ok":
        _write_content(out, answer["data"])
    print_indented(answer if group is None else answers)
    return 0 if all(map(_is_good, answers.values())) else ExitCode.DATA


def _check_options(verb: str, given: Mapping[str, object], group: str | None) -> None:
    """Refuse options that are for other verbs, and those that are not for a group.

    Raises:
        click.UsageError: one of them is given.
    """
    for option, value in given.items():
        if value is not None and verb not in ONLY_FOR[option]:
            raise click.UsageError(f"{option}: it is not for {verb}, but for {', '.join(ONLY_FOR[option])}")
    if group is not None and any(given[option] is not None for option in ("--out", "--file")):
        raise click.UsageError(
            "--group: a file comes from one device, or goes to one; leave --out and --file away"
        )


def _read_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are arguments of the verb, under the names that they have there."""
    arguments = {name: value for name, value in given.items() if value not in (None, ())}
    if "values" in arguments:
        arguments["set"] = dict(map(_read_value, arguments.pop("values")))
    if "source" in arguments:
        arguments["from"] = arguments.pop("source")
    return arguments


def _add_arguments(
    verb: str, text_file: Path | None, upload: ChunkedFile | None, wait_s: float | None
) -> dict[str, Any]:
    """Arguments that are made from options."""
    from edge_runtime.messaging.commands.request import LONGEST_TASK_S, LONGEST_WAIT_S

    arguments: dict[str, Any] = {}
    if text_file is not None:
        arguments["text"] = _read_text(text_file)
    if upload is not None:
        arguments |= {"chunks": upload.names, "size_bytes": upload.size_bytes}
    if wait_s is not None:
        longest_s = LONGEST_TASK_S if verb in TASKS else LONGEST_WAIT_S
        arguments["timeout_s"] = longest_s if wait_s == math.inf else wait_s
    return arguments


def _is_good(answer: dict[str, Any]) -> bool:
    return answer.get("status") == "ok" and not _has_failed(answer["data"])


def show_progress(progress: Progress, told: dict[str, Any]) -> None:
    """What a device told of its work: its phase, and how much of this is done where it says so."""
    phase = str(told.get("phase", "waiting"))
    if told.get("total_bytes"):
        progress.begin(phase, told["total_bytes"], unit="bytes")
        progress.set(told.get("done_bytes", 0))
    elif "frames_wanted" in told:
        progress.begin(f"{phase}, frames", told["frames_wanted"])
        progress.set(told["frames"])
    elif "share" in told:
        progress.begin(phase, 1.0, unit="share")
        progress.set(told["share"])
    else:
        progress.begin(phase)


def _has_failed(data: dict[str, Any]) -> bool:
    """Whether a task that was waited for came to no result; that the gate refuses is one."""
    return data.get("outcome") in ("failed", "given_up")


def _read_text(path: Path) -> str:
    """A file for ``set-config``; the device says what is wrong with it.

    Raises:
        StateError: it cannot be read, or is no UTF-8.
    """
    from calibration.stats.regular_file import read_regular
    from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES

    try:
        return read_regular(path, MAX_REQUEST_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as err:
        raise StateError(f"{path}: cannot be read: {err}; expected a YAML file in UTF-8") from err


def _write_content(path: Path, data: dict[str, Any]) -> None:
    """Take the picture or the text out of an answer, into a file.

    Raises:
        StateError: the disk refuses.
    """
    from edge_runtime.system.atomic_file import write_atomically

    write_atomically(
        path, base64.b64decode(data.pop("jpeg")) if "jpeg" in data else data.pop("text").encode()
    )


def _read_value(text: str) -> tuple[str, Any]:
    """``cameras.belt.fps=5`` as key and value."""
    from edge_runtime.config.strict_yaml import load

    key, mark, value = text.partition("=")
    if not mark:
        raise click.UsageError(f"--set {text}: expected KEY=VALUE, such as cameras.belt.fps=5")
    return key, load(value, f"--set {key}").data
