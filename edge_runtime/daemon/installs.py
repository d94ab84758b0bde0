"""The command ``install``: who may bring what from where, one bundle at a time, and what the caller hears of it.

The work is ``install_job``'s, in a thread in the background.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import structlog

from edge_runtime.bundles.travel.reference import Reference, is_reference, parse_reference
from edge_runtime.config import Config
from edge_runtime.config.install_sources import BadAddress, SourceAddress, parse_file_address, parse_prefix
from edge_runtime.daemon.running import Running
from edge_runtime.errors import CommandError
from edge_runtime.messaging.commands.later import Later, Progress
from edge_runtime.messaging.commands.request import InstallArguments
from edge_runtime.messaging.commands.under_way import CUT_SHORT, wait_for
from edge_runtime.messaging.uploads import Uploads

if TYPE_CHECKING:
    from edge_runtime.daemon.install_job import AsChunks, AsFile, InstallJob

log = structlog.get_logger()

BUSY = "another bundle is being installed; nothing was done, send it again after that"
TAKEN_OVER = "the same bundle was asked for again, by another command, which is answered instead"
TAKE_OVER_S = 5.0
"""For the command before to end: its caller may be gone, and what arrived is kept. In silence, so less than ``send``
waits for."""


class Installs:
    """See the module."""

    def __init__(
        self,
        running: Running,
        uploads: Uploads,
        run_in_background: Callable[[Callable[[], dict[str, Any]]], Future[dict[str, Any]]],
    ) -> None:
        """Nothing is installed yet."""
        self._running, self._uploads, self._run_in_background = running, uploads, run_in_background
        self._one_at_a_time = threading.Lock()
        self._now: tuple[object, InstallJob] | None = None
        """What is being installed, and how."""

    def begin(self, given: InstallArguments) -> Later:
        """What is installed later.

        Raises:
            CommandError, BadReference: it names nothing that can be installed, or the configuration forbids it.
        """
        from edge_runtime.daemon.install_job import InstallJob  # 50 ms, which not every start shall take

        config = self._running.config
        source = _choose_source(config, given)
        what = given.source, given.sha256, given.chunks
        return Later(
            lambda progress: self._install(what, InstallJob(config, source, given.timeout_s), progress)
        )

    def _install(self, what: object, job: "InstallJob", progress: Progress) -> dict[str, Any]:
        self._wait_for_turn(what)
        self._now = what, job

        def work() -> dict[str, Any]:
            try:
                return job.run(self._uploads, progress)
            finally:
                self._one_at_a_time.release()  # before anybody hears that it is done

        done = self._run_in_background(work)
        try:
            answer = wait_for(done, math.inf, progress, job.describe)
        finally:
            job.stop(CUT_SHORT)
        log.info("bundle installed by command", bundle=answer["bundle"], outcome=answer["outcome"])
        return answer

    def _wait_for_turn(self, what: object) -> None:
        """One at a time; the same once more takes over."""
        if self._one_at_a_time.acquire(blocking=False):
            return
        before = self._now
        if before is not None and before[0] == what:
            before[1].stop(TAKEN_OVER)
            if self._one_at_a_time.acquire(timeout=TAKE_OVER_S):
                return
        raise CommandError(BUSY)


def _choose_source(config: Config, given: InstallArguments) -> "Reference | AsFile | AsChunks":
    from edge_runtime.daemon.install_job import AsChunks, AsFile

    if given.chunks is not None and given.size_bytes is not None:
        if not config.bundles.install_chunks:
            raise CommandError(
                "chunks over MQTT are not allowed here; bundles.install_chunks: true allows them"
            )
        return AsChunks(tuple(given.chunks), given.size_bytes)
    text = given.source or ""
    if is_reference(text):
        reference = parse_reference(text)
        levels = tuple(reference.repository.split("/"))
        _require_allowed(config, SourceAddress("oci", reference.host.lower(), levels))
        return reference
    try:
        address = parse_file_address(text)
    except BadAddress as err:  # the text is not shown: it may hold a password
        raise CommandError(f"from: {err}") from err
    _require_allowed(config, address)
    return AsFile(address, given.sha256 or "", lambda other: is_allowed(config, other))


def is_allowed(config: Config, address: SourceAddress) -> bool:
    """Whether bundles may be installed from an address by command."""
    return any(parse_prefix(prefix).allows(address) for prefix in config.bundles.install_from)


def _require_allowed(config: Config, address: SourceAddress) -> None:
    if not is_allowed(config, address):
        listed = ", ".join(config.bundles.install_from) or "none"
        raise CommandError(
            f"bundles may not be installed from {address}; bundles.install_from allows: {listed}"
        )
