"""Pictures at addresses that callers name, from where the configuration allows.

Each is loaded in a thread that no end of the daemon waits for: a name server or a slow server may hold it for long.
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from edge_runtime.bundles.travel.http_file import HttpFile
from edge_runtime.config.install_sources import BadAddress, SourceAddress, parse_file_address
from edge_runtime.errors import RegistryLost, RegistryRefused
from edge_runtime.serving.refusals import Refusal, failed, full, too_large
from edge_runtime.serving.room import LARGEST_BODIES, PICTURE_KEY
from edge_runtime.system.supervised_thread import Crashes

KEY = "http.predict.fetch_from"
NEEDED_FOR = f"pictures from addresses ({KEY})"
_QUERY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]{0,4096}")
"""RFC 3986, section 3.4."""


class PictureFetcher:
    """See the module; safe from any thread.

    Args:
        allowed: Beginnings of addresses.
        most_bytes: Of a picture.
        timeout_s: For one picture.
        crashes: Counts what nobody foresaw.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        allowed: Sequence[SourceAddress],
        most_bytes: int,
        timeout_s: float,
        crashes: Crashes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed, self._most_bytes, self.timeout_s = allowed, most_bytes, timeout_s
        self._crashes, self._clock = crashes, clock
        self._room = threading.Semaphore(LARGEST_BODIES)

    def start(self, url: str) -> Future[bytes]:
        """Load the picture at an address; it may also be a ``Refusal``, and may come late or never.

        Raises:
            Refusal: nothing may be loaded from there, or as many as may be are loaded now.
        """
        address, query = self._read(url)
        if not self._room.acquire(blocking=False):
            raise full()
        coming: Future[bytes] = Future()
        coming.set_running_or_notify_cancel()
        thread = threading.Thread(
            target=self._work, args=(address, query, coming), name="http-fetch", daemon=True
        )
        thread.start()
        return coming

    def _read(self, url: str) -> tuple[SourceAddress, str]:
        plain, mark, query = url.partition("?")
        try:
            address = parse_file_address(plain)
        except BadAddress as err:
            raise Refusal(400, f"url: {err}") from err
        if not _QUERY.fullmatch(query):
            raise Refusal(400, "url: a query that is not plain; expected escaped characters")
        if not self._may_ask(address):
            raise Refusal(403, f"url: pictures may not be loaded from {address.host} ({KEY})")
        return address, mark + query

    def _may_ask(self, address: SourceAddress) -> bool:
        return any(one.allows(address) for one in self._allowed)

    def _work(self, address: SourceAddress, query: str, coming: Future[bytes]) -> None:
        try:
            with self._crashes.contain("http-fetch", log_once=True) as contained:
                try:
                    coming.set_result(self._load(address, query))
                except Refusal as refusal:
                    coming.set_exception(refusal.bare())
            if contained.error is not None:
                coming.set_exception(failed())
        finally:
            self._room.release()

    def _load(self, address: SourceAddress, query: str) -> bytes:
        end_s, found = self._clock() + self.timeout_s, bytearray()
        try:
            with (
                HttpFile(
                    address, self._may_ask, query=query, key=KEY, needed_for=NEEDED_FOR, is_outer=True
                ) as file,
                file.open_blob("", 0) as part,
            ):
                for chunk in part.chunks:
                    found += chunk
                    if len(found) > self._most_bytes:
                        raise too_large(self._most_bytes, PICTURE_KEY)
                    if self._clock() > end_s:
                        raise Refusal(
                            504, f"{address}: the picture did not come in time (http.predict.timeout_s)"
                        )
        except (RegistryLost, RegistryRefused) as err:
            raise Refusal(502, f"{err.registry}: {err.reason}") from err
        return bytes(found)
