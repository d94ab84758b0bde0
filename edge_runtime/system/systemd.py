"""Messages to and from systemd: sd_notify(3) and JOURNAL_STREAM (systemd.exec(5)) without a library.

Does nothing when not started by systemd. No policy here: when to feed the watchdog is decided in ``health``.
"""

import os
import socket
import time
from collections.abc import Mapping
from typing import TextIO


class SystemdNotify:
    """The notification socket of this service; every method is a no-op without one and never raises.

    ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._address = _address(env.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(env)
        """systemd kills the service when it is not fed for this long; None when there is no watchdog."""

    @property
    def is_managed(self) -> bool:
        """Whether a service manager listens. Whether it starts again what ends is in the unit: ``Restart=always``."""
        return self._address is not None

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("STATUS=" + " ".join(text.split()))

    def extend_start(self, seconds: float) -> None:
        """The start takes longer than the unit allows, and goes on: at least ``seconds`` more."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def ready(self) -> None:
        """The golden self-test has passed and the daemon serves."""
        self._send("READY=1")

    def watchdog(self) -> None:
        """Inference made progress."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A new configuration is being applied; call ``ready`` after it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon drains and ends."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.setblocking(False)
                link.sendto(message.encode(), self._address)
        except OSError:
            return  # systemd is restarting or its queue is full; the next message comes soon


def is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether a stream goes to the journal, which then reads priorities at the start of lines (``JOURNAL_STREAM``)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file behind it, or closed
        return False
    return env.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return f"\0{text[1:]}"  # an abstract socket
    return text if text.startswith("/") else None


def _watchdog_s(env: Mapping[str, str]) -> float | None:
    try:
        interval_us = int(env.get("WATCHDOG_USEC", ""))
        meant_for = int(env.get("WATCHDOG_PID", os.getpid()))  # may be another one
    except ValueError:
        return None
    return interval_us / 1e6 if interval_us > 0 and meant_for == os.getpid() else None
