"""Callers over HTTP."""

from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import Access
from edge_runtime.serving.token_holder import TokenHolder, hash_token

TOKENS = {role: f"{role}-k1k2k3k4k5k6k7k8" for role in Role}
HOLDERS = tuple(TokenHolder(f"the-{role}", role, hash_token(token)) for role, token in TOKENS.items())


def bearer(role=Role.OWNER):
    """The header with a token of this role."""
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def make_access(**more):
    """Where a token is needed, with one holder of each role."""
    return Access(lambda: HOLDERS, needs_token=True, **more)
