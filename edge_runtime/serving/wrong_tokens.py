"""How often a client may guess: a bounded memory of clients that came with wrong tokens. Pure.

A token is too long to be guessed (``config.http_requests``); the limit keeps one that was chosen badly, the log and the
processor. A client at its limit is refused also with a right token, or a right guess would show.
"""

from collections import OrderedDict

from edge_runtime.messaging.token_bucket import TokenBucket
from edge_runtime.serving.client_network import network_of

BURST = 10
"""Wrong tokens at once."""
EACH_S = 10.0
"""And one more after each of these; a scraper with an old token, every 15 s, stays below it."""
MOST_CLIENTS = 1024


class WrongTokens:
    """Used by the server's thread; ``count`` may be read by others."""

    def __init__(self) -> None:
        self.count = 0
        """Since the start, of all clients."""
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """How long this client must wait before it may try again; 0 when it may now."""
        bucket = self._buckets.get(network_of(client))
        return 0.0 if bucket is None else bucket.wait_s(now_s)

    def note(self, client: str, now_s: float) -> None:
        """It came with a wrong token; ``now_s`` is monotonic."""
        self.count += 1
        network = network_of(client)
        bucket = self._buckets.setdefault(network, TokenBucket(1 / EACH_S, BURST))
        bucket.take(now_s)
        self._buckets.move_to_end(network)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
