"""Browsers that have shown a token, and have a cookie in its place. Pure.

A cookie is random and known here by its hash alone. It lasts as long as its caller has the token that it came for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_runtime.serving.token_holder import TokenHolder, hash_token

LASTS_S = 12 * 3600.0
MOST_OF_ONE = 8
"""Of one caller; the next one ends the oldest."""


@dataclass(frozen=True, slots=True)
class _Session:
    holder: TokenHolder
    ends_at_s: float


class Sessions:
    """Used by the server's thread alone. Times are monotonic.

    Args:
        make_secret: Gives a new text that cannot be guessed.
    """

    def __init__(self, make_secret: Callable[[], str]) -> None:
        self._make_secret = make_secret
        self._sessions: dict[bytes, _Session] = {}

    def open(self, holder: TokenHolder, now_s: float) -> str:
        """A new cookie for a caller."""
        self._sessions = {key: one for key, one in self._sessions.items() if one.ends_at_s > now_s}
        own = [key for key, one in self._sessions.items() if one.holder.name == holder.name]
        for oldest in own[: max(0, len(own) + 1 - MOST_OF_ONE)]:
            del self._sessions[oldest]
        cookie = self._make_secret()
        self._sessions[hash_token(cookie)] = _Session(holder, now_s + LASTS_S)
        return cookie

    def find(self, cookie: str, holders: Sequence[TokenHolder], now_s: float) -> TokenHolder | None:
        """Whose it is, as the caller is among ``holders`` now; None when it is over, or never was."""
        session = self._sessions.get(hash_token(cookie))
        if session is None or session.ends_at_s <= now_s:
            return None
        found = (
            one for one in holders if (one.name, one.digest) == (session.holder.name, session.holder.digest)
        )
        return next(found, None)

    def close(self, cookie: str) -> None:
        """It counts no longer."""
        self._sessions.pop(hash_token(cookie), None)
