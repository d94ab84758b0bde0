"""One installation by command: the bundle is fetched, verified and put into the store. For a thread in the background.

What arrived stays on the disk when it is interrupted, and the same command later asks only for what is missing.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.bundles.signing.trust import load_trust
from edge_runtime.bundles.travel.chunks import SHOWN, ChunkFolder
from edge_runtime.bundles.travel.from_address import FileOrder, open_download
from edge_runtime.bundles.travel.from_registry import PullRules, open_pull
from edge_runtime.bundles.travel.reference import Reference
from edge_runtime.bundles.travel.registry import Patience
from edge_runtime.bundles.verify import MAX_FILE_BYTES, MAX_TOTAL_BYTES
from edge_runtime.config import Config
from edge_runtime.config.install_sources import SourceAddress
from edge_runtime.deployment.store.folder_writer import Limits
from edge_runtime.deployment.store.in_use import find_in_use
from edge_runtime.deployment.store.install import Installed, Rules, install
from edge_runtime.deployment.store.keep import MIB, Keep
from edge_runtime.deployment.store.place import make_root
from edge_runtime.deployment.versions import list_versions
from edge_runtime.errors import BundleError, CommandError
from edge_runtime.messaging.commands.later import Progress
from edge_runtime.messaging.uploads import Uploads
from edge_runtime.system.disk import require_space

MOST_SHOWN = 256
"""Positions of missing chunks in one progress message."""
_LOOK_EVERY_S = 0.25
_HEADERS_BYTES = 16 * MIB
"""Of an archive, besides what is in it."""


@dataclass(frozen=True, slots=True)
class AsFile:
    """An archive at an address."""

    address: SourceAddress
    sha256: str
    may_ask: Callable[[SourceAddress], bool]
    """Whether a redirect may lead to an address."""


@dataclass(frozen=True, slots=True)
class AsChunks:
    """An archive in pieces over MQTT."""

    names: tuple[str, ...]
    size_bytes: int


@dataclass(slots=True)
class _Fetched:
    """Bytes, for the answer."""

    downloaded: int
    kept: int


class InstallJob:
    """See the module. ``describe`` and ``stop`` are for other threads."""

    def __init__(self, config: Config, source: Reference | AsFile | AsChunks, timeout_s: float) -> None:
        """``timeout_s``: how long nothing may come before it is given up."""
        self._config, self._source, self._timeout_s = config, source, timeout_s
        self._root = config.bundles_folder
        self._phase, self._done, self._total = "waiting", 0, 0
        self._missing: list[int] = []
        self._must_stop, self._stop_reason = threading.Event(), ""

    def stop(self, reason: str) -> None:
        """Give it up soon; the caller hears the reason, unless it was done by then."""
        if not self._must_stop.is_set():
            self._stop_reason = reason
        self._must_stop.set()

    def describe(self) -> dict[str, Any]:
        """How far it is."""
        said: dict[str, Any] = {"phase": self._phase, "done_bytes": self._done, "total_bytes": self._total}
        if self._phase == "receiving":
            missing = self._missing
            said |= {"missing_chunks": len(missing), "missing": missing[:MOST_SHOWN]}
        return said

    def run(self, uploads: Uploads, progress: Progress) -> dict[str, Any]:
        """Do it; gives the answer to the command.

        Raises:
            EdgeRuntimeError: it was not installed, and why.
        """
        make_root(self._root)
        match self._source:
            case Reference() as reference:
                done, fetched = self._pull(reference)
            case AsFile() as file:
                done, fetched = self._download(file)
            case AsChunks() as chunks:
                done, fetched = self._receive(chunks, uploads, progress)
        return {
            "bundle": done.id,
            "outcome": str(done.outcome),
            "name": done.name,
            "version": done.version,
            "sha256": done.manifest_sha256,
            "signed_by": done.signed_by,
            "size_bytes": done.size_bytes,
            "downloaded_bytes": fetched.downloaded,
            "kept_bytes": fetched.kept,
            "removed": list(done.removed),
            "models": find_takers(self._config, done.name, done.version),
        }

    def _pull(self, reference: Reference) -> tuple[Installed, _Fetched]:
        self._phase = "downloading"
        rules = PullRules(load_trust(self._config.trust), self._most_bytes, self._make_patience())
        with open_pull(reference, self._root, rules, self._note_bytes, self._note_size) as pulled:
            done = self._put(pulled.bundle.path, str(reference))
            return done, _Fetched(pulled.counts.downloaded, pulled.counts.kept)

    def _download(self, file: AsFile) -> tuple[Installed, _Fetched]:
        self._phase = "downloading"
        order = FileOrder(file.address, file.sha256, self._most_bytes + _HEADERS_BYTES, file.may_ask)
        patience = self._make_patience()
        with open_download(order, self._root, patience, self._note_bytes, self._note_size) as (path, counts):
            done = self._put(path, str(file.address))
            return done, _Fetched(counts.downloaded, counts.kept)

    def _receive(self, chunks: AsChunks, uploads: Uploads, progress: Progress) -> tuple[Installed, _Fetched]:
        most, self._total = self._most_bytes + _HEADERS_BYTES, chunks.size_bytes
        if chunks.size_bytes > most:
            raise BundleError(SHOWN, f"{chunks.size_bytes} bytes", f"at most {most}", "Make it smaller.")
        folder = ChunkFolder(self._root, chunks.names, chunks.size_bytes)
        require_space(self._root, 3 * chunks.size_bytes - folder.kept_bytes)  # chunks, archive, bundle
        try:
            self._wait_for_chunks(folder, uploads, progress)
            self._phase = "checking"
            try:
                done = self._put(folder.join(), SHOWN)
            finally:
                folder.drop_archive()
        except BundleError:
            folder.clear()
            raise
        folder.clear()
        return done, _Fetched(folder.present_bytes - folder.kept_bytes, folder.kept_bytes)

    def _wait_for_chunks(self, folder: ChunkFolder, uploads: Uploads, progress: Progress) -> None:
        came_s = time.monotonic()
        self._look(folder, uploads)
        self._phase = "receiving"
        try:
            progress.report(self.describe())
            while self._missing:
                data = uploads.take(_LOOK_EVERY_S)
                if data is not None and folder.add(data):
                    came_s = time.monotonic()
                self._look(folder, uploads)
                self._check_stop()
                if time.monotonic() - came_s > self._timeout_s:
                    raise CommandError(self._describe_silence(folder, uploads))
        finally:
            uploads.want(frozenset())

    def _look(self, folder: ChunkFolder, uploads: Uploads) -> None:
        self._missing, self._done = folder.missing(), folder.present_bytes
        uploads.want(folder.missing_names())

    def _describe_silence(self, folder: ChunkFolder, uploads: Uploads) -> str:
        why = uploads.problem or "expected them as messages on .../upload/<name of the chunk>"
        return (
            f"no chunk came for {self._timeout_s:g} s ({why}); {folder.present_bytes} bytes are kept: send the "
            "command again, with another transaction, and then what it says is missing"
        )

    def _put(self, path: Path, shown: str) -> Installed:
        self._phase = "checking"
        config = self._config
        rules = Rules(
            Keep.from_config(config.bundles),
            config.bundles.allow_downgrade,
            find_in_use(config),
            load_trust(config.trust),
            Limits(file_bytes=min(MAX_FILE_BYTES, self._most_bytes), total_bytes=self._most_bytes),
        )
        with _name_in_errors(path, shown):
            return install(path, self._root, rules, wait_s=self._timeout_s)

    @property
    def _most_bytes(self) -> int:
        max_mib = self._config.bundles.max_mib
        return MAX_TOTAL_BYTES if max_mib is None else min(MAX_TOTAL_BYTES, max_mib * MIB)

    def _make_patience(self) -> Patience:
        return Patience(self._timeout_s, sleep=self._sleep)

    def _sleep(self, pause_s: float) -> None:
        self._must_stop.wait(pause_s)
        self._check_stop()

    def _note_size(self, count: int) -> None:
        self._total = count

    def _note_bytes(self, count: int) -> None:
        self._done += count
        self._check_stop()

    def _check_stop(self) -> None:
        if self._must_stop.is_set():
            raise CommandError(self._stop_reason)


def find_takers(config: Config, name: str, version: int) -> list[dict[str, Any]]:
    """What becomes of a version for each model that uses bundles of this name.

    ``rollout``: it is tried at once; ``next_start``: it answers from then on; ``never``: a higher version is there, or
    the configuration names another.
    """
    root, found = config.bundles_folder / name, list[dict[str, Any]]()
    newest = max(list_versions(root), default=version)
    for model, one in config.models.items():
        if config.bundle_root(model) != root:
            continue
        is_meant = version in (one.version, newest if one.version == "latest" else None)
        when = "rollout" if one.rollout is not None else "next_start"
        found.append({"model": model, "taken": when if is_meant else "never"})
    return found


@contextmanager
def _name_in_errors(path: Path, shown: str) -> Iterator[None]:
    """Refusals name what the caller knows: the folder is gone when they are read."""
    try:
        yield
    except BundleError as err:
        if not err.path.startswith(str(path)):
            raise
        place = err.path.replace(str(path), shown, 1)
        raise BundleError(place, err.found, err.expected, err.fix) from err
