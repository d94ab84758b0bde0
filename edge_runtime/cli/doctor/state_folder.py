"""The state directory: whose it is, whether it can be written, and how much room it has."""

import os
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.cli.doctor.service_user import ServiceUser
from edge_runtime.config import Config
from edge_runtime.errors import ExitCode

_NO_ROOM_BYTES, _LOW_BYTES, _LOW_FILES = 16 * 2**20, 512 * 2**20, 1000
"""A patched model and its files need some 20 MB; the newest 8 patches, baselines and reports some hundreds."""


def examine_state(config: Config, user: ServiceUser) -> Iterator[Finding]:
    """Look at the state directory in the name of the daemon's user; nothing is written."""
    folder = config.state_dir
    try:
        owner = folder.stat().st_uid
    except FileNotFoundError:
        yield from _judge_missing(folder, user)
        return
    except PermissionError as err:
        yield note("state.unknown", f"{folder} cannot be looked at: {err.strerror}", "run doctor as root")
        return
    except OSError as err:
        advice = "repair the disk; see journalctl -k"
        yield problem(
            "state.unreadable", f"{folder} cannot be looked at: {err.strerror}", advice, ExitCode.IO
        )
        return
    is_foreign = owner not in (user.uid, 0) or (owner == 0 and user.may(folder, ["w"]) is False)
    if (
        is_foreign and user.uid != 0
    ):  # root may write anywhere; systemd gives the folder to the user of a unit
        found = f"{folder} belongs to user {owner}, the daemon is user {user.uid} ({user.name})"
        advice = f"chown -R {user.name} {folder}; systemd does so itself with StateDirectory="
        yield problem("state.owner", found, advice, ExitCode.IO)
    elif user.may(folder, ["r", "w", "x"]) is False:
        advice = f"chmod u+rwx {folder}; a disk that is mounted read-only has an error in: journalctl -k"
        yield problem("state.rights", f"{folder} cannot be written by {user.name}", advice, ExitCode.IO)
    else:
        yield fine("state", f"{folder} belongs to {user.name}")
    yield from judge_room(folder, os.statvfs(folder), config.outbox.max_mib << 20)


def _judge_missing(folder: Path, user: ServiceUser) -> Iterator[Finding]:
    above = next(parent for parent in folder.parents if parent.exists())
    if user.may(above, ["w", "x"]) is False:
        advice = (
            f"install -d -o {user.name} {folder}, or set state_dir; systemd makes it with StateDirectory="
        )
        yield problem(
            "state.missing", f"{folder} does not exist and {user.name} cannot make it", advice, ExitCode.IO
        )
    else:
        yield note("state.missing", f"{folder} does not exist yet; the daemon makes it")


def judge_room(folder: Path, disk: os.statvfs_result, outbox_bytes: int) -> Iterator[Finding]:
    """``f_bavail`` and ``f_favail`` are what is left for others than root."""
    free, files = disk.f_bavail * disk.f_frsize, disk.f_favail
    found = f"{free >> 20} MiB are free on the disk of {folder}"
    advice = f"remove what is not needed (du -xh {folder} | sort -h), or mount a larger disk"
    if free < _NO_ROOM_BYTES:
        yield problem("state.full", found, advice, ExitCode.IO)
    elif free < max(_LOW_BYTES, outbox_bytes):
        yield note("state.low", f"{found}; results that wait may take {outbox_bytes >> 20} MiB", advice)
    else:
        yield fine("state.room", found)
    if disk.f_files and files == 0:
        yield problem(
            "state.full",
            f"no file can be made on the disk of {folder}: no inode is free",
            advice,
            ExitCode.IO,
        )
    elif disk.f_files and files < _LOW_FILES:
        yield note("state.low", f"{files} more files fit on the disk of {folder}", advice)
