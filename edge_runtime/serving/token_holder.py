"""A caller over HTTP, known by a token."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_runtime.messaging.commands.roles import Role


def hash_token(token: str) -> bytes:
    """What is compared, in constant time whatever the length; the token itself need not be kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """A caller."""

    name: str
    role: Role
    digest: bytes = field(repr=False)


def find_holder(holders: Sequence[TokenHolder], token: str) -> TokenHolder | None:
    """Whose token it is; of several callers with the same one, that with the greatest role. Looks at all of them."""
    digest = hash_token(token)
    found = [one for one in holders if hmac.compare_digest(one.digest, digest)]
    return max(found, key=lambda one: one.role, default=None)
