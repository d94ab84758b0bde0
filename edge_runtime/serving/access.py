"""Who may have work done over HTTP or gRPC.

Without tokens only this machine may, by a program or by a page of this server: a page from elsewhere in a browser on
this machine must not, although its request comes from here. A browser says where the page is from, in ``Origin`` and
``Sec-Fetch-Site``; a program says nothing. With tokens (RFC 6750) each request needs one, wherever it comes from.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.refusals import Refusal

_ASK = {"WWW-Authenticate": 'Bearer realm="edge-runtime"'}


def hash_token(token: str) -> bytes:
    """What is compared, in constant time whatever the length; the token itself need not be kept."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """A caller."""

    name: str
    role: Role
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """The rules; see the module."""

    holders: tuple[TokenHolder, ...] = ()
    needs_token: bool = False

    def check(self, headers: Mapping[str, str], scheme: str, needed: Role) -> None:
        """Let a request over HTTP pass.

        Args:
            headers: By names in small letters, or in any where the mapping does not tell them apart.
            scheme: Of this server.
            needed: Least role.

        Raises:
            Refusal: it may not.
        """
        _check_site(headers, scheme)
        self.check_token(headers.get("authorization", ""), needed)

    def check_token(self, authorization: str, needed: Role) -> None:
        """Let a caller pass who is no browser.

        Args:
            authorization: ``Bearer TOKEN``, or empty.
            needed: Least role.

        Raises:
            Refusal: he may not.
        """
        if not self.needs_token:
            return
        if not self.holders:
            raise Refusal(
                403, "from other machines only with a token; the configuration has none (http.tokens)"
            )
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Refusal(401, "a token is needed: Authorization: Bearer TOKEN", _ASK)
        digest = hash_token(token.strip())
        found = [one for one in self.holders if hmac.compare_digest(one.digest, digest)]
        if not found:
            raise Refusal(401, "unknown token", _ASK)
        if max(one.role for one in found) < needed:
            raise Refusal(403, f"{found[0].name} has the role {found[0].role}; this needs {needed}")


def _check_site(headers: Mapping[str, str], scheme: str) -> None:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    is_own = origin is None or origin.lower() == f"{scheme}://{headers.get('host', '')}".lower()
    if not is_own or site not in (None, "same-origin", "none"):
        raise Refusal(403, "requests of pages from elsewhere are refused")
