"""Who may have something over HTTP or gRPC, by tokens (RFC 6750).

Without tokens only this machine may. With tokens each request needs one, wherever it comes from. Tokens in addresses
are not looked at: addresses are in logs and histories.
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import structlog

from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.token_holder import TokenHolder, find_holder
from edge_runtime.serving.wrong_tokens import WrongTokens

CHALLENGE = 'Bearer realm="edge-runtime"'
MOST_SHOWN = 64
"""Characters of a client's address in the log: a proxy, or a program of this machine, may name anything as that."""
_ASK = {"WWW-Authenticate": CHALLENGE}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str | None
    """As in the configuration; None: a program or a page of this machine, where no tokens are configured."""
    role: Role
    holder: TokenHolder | None = None


LOCAL = Caller(None, Role.OPERATOR)


def ask_for_token() -> Refusal:
    """Of a request that shows none."""
    return Refusal(401, "a token is needed: Authorization: Bearer TOKEN", _ASK)


def require_role(caller: Caller | None, needed: Role) -> Caller:
    """The caller, with at least this role.

    Raises:
        Refusal: a greater role is needed.
    """
    if caller is not None and caller.role >= needed:
        return caller
    who = "no token" if caller is None or caller.name is None else f"{caller.name} is {caller.role}"
    raise Refusal(403, f"this needs the role {needed}; {who} (http.tokens)")


class Access:
    """The rules; see the module. Safe from any thread: servers share it.

    Args:
        holders: Callers with tokens now.
        needs_token: Whether a request needs one of them.
        has_callers: Whether the configuration has any.
        wrong_tokens: Limits guesses.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        holders: Callable[[], Sequence[TokenHolder]] = tuple,
        *,
        needs_token: bool = False,
        has_callers: bool = True,
        wrong_tokens: WrongTokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holders, self.needs_token, self._has_callers = holders, needs_token, has_callers
        self._wrong_tokens, self.clock = wrong_tokens or WrongTokens(), clock
        self._lock = threading.Lock()

    def identify(self, authorizations: Sequence[str], client: str) -> Caller:
        """Who asks.

        Args:
            authorizations: All headers of that name.
            client: Address of the caller's machine.

        Raises:
            Refusal: it may not ask for anything.
        """
        if not self.needs_token:
            return LOCAL
        self.require_callers()
        with self._lock:
            return self._identify(authorizations, client)

    def holders(self) -> Sequence[TokenHolder]:
        """Callers with tokens now."""
        with self._lock:
            return self._holders()

    def require_callers(self) -> None:
        """Refuse all where there can be no token.

        Raises:
            Refusal: there is none in the configuration.
        """
        if not self._has_callers:
            reason = "from other machines only with a token; the configuration has none (http.tokens)"
            raise Refusal(403, reason)

    def _identify(self, authorizations: Sequence[str], client: str) -> Caller:
        now_s = self.clock()
        wait_s = self._wrong_tokens.wait_s(client, now_s)
        if wait_s > 0:
            raise Refusal(429, "too many wrong tokens", {"Retry-After": str(ceil(wait_s))})
        shown = authorizations[0] if len(authorizations) == 1 else ""
        found = re.fullmatch(r"bearer +(\S+) *", shown, re.IGNORECASE)
        if found is None:
            raise ask_for_token()
        holder = find_holder(self._holders(), found[1])
        if holder is None:
            self._wrong_tokens.note(client, now_s)
            log.warning("wrong token", client=client[:MOST_SHOWN])
            raise Refusal(401, "unknown token", _ASK)
        return Caller(holder.name, holder.role, holder)
