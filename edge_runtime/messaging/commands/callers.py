"""Who sends a command: a request that is signed, one that is not, or one of a caller whom HTTP has recognised. Pure.

A signed request is a compact JWS (RFC 7515) instead of JSON; its content has the claims of RFC 7519::

    {"aud": "belt-3", "exp": 1795448519, "jti": "any text", "verb": "recalibrate", "arguments": {"model": "parts"}}

``aud`` is this device or one of its groups, or a list; ``jti`` is what ``transaction`` is without a signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.errors import CommandError, CommandForbidden
from edge_runtime.messaging.commands.request import (
    CLAIMS,
    Arguments,
    Name,
    Transaction,
    check_arguments,
)
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES, check_expiry, describe, parse
from edge_runtime.messaging.commands.roles import Role, find_least_role, find_needed_role
from edge_runtime.messaging.commands.token import is_token, read_key_id
from edge_runtime.system.rfc3339 import format_rfc3339

LONGEST_S = 86_400.0
"""A signed command that holds for longer is refused: for so long its id must be remembered."""
CLOCKS_DIFFER_S = 60.0
"""A command from this much in the future (``iat``, ``nbf``) is still taken."""
_EPOCH_END = 253_402_300_799.0
Door = Literal["mqtt", "http"]
"""The way on which a command comes."""


class Key(Protocol):
    """The public key of a caller."""

    def open(self, token: bytes) -> bytes:
        """The signed content.

        Raises:
            CommandError: it is not signed by this key.
        """


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller who signs."""

    name: str
    role: Role
    key: Key


@dataclass(frozen=True, slots=True)
class KnownCaller:
    """The holder of a token, whom HTTP has recognised: no signature is needed."""

    name: str
    role: Role

    @property
    def noted_as(self) -> str:
        """In the log of commands; no key can have this name."""
        return f"http:{self.name}"


@dataclass(frozen=True, slots=True)
class Request:
    """A command that may be carried out."""

    arguments: Arguments
    by: str | None
    """Name of the caller's key, or of the token after ``http:``; None without either."""
    used_as: Transaction | None
    """By what a repetition is recognised; None: it cannot be."""
    expires_wall_s: float | None = None
    """Until when its id must be remembered."""
    door: Door = "mqtt"


Seconds = Annotated[float, Field(ge=0, le=_EPOCH_END)]


class _Claims(BaseModel):
    """The content of a signed request; claims that are not named here are ignored, as RFC 7519 wants it."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)

    aud: Name | Annotated[list[Name], Field(max_length=64)]
    exp: Seconds
    jti: Name
    verb: str
    iat: Seconds | None = None
    nbf: Seconds | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Who may command this device."""

    device: str | None = None
    """None takes requests to any."""
    groups: frozenset[str] = frozenset()
    signers: Mapping[str, Caller] = field(default_factory=dict)
    """By the id of their keys."""
    unsigned: Role | None = Role.OPERATOR
    """What a caller without a signature may do; None: nothing."""

    def read(self, verb: str, payload: bytes, now_wall_s: float) -> Request:
        """Check a request to this device.

        Raises:
            CommandError: names the fault and the expectation, for the caller.
        """
        if len(payload) > MAX_REQUEST_BYTES:
            raise CommandError(f"the request is too long; at most {MAX_REQUEST_BYTES} bytes are accepted")
        if is_token(payload):
            return self._signed(verb, payload.strip(), now_wall_s)
        if self.unsigned is None:
            raise CommandForbidden(
                f"{verb}: not signed; this device obeys signed commands only (section 'commands'): sign it, as "
                "edge-runtime does with --key FILE"
            )
        arguments = self._plain(verb, payload, now_wall_s)
        self._require_role(verb, arguments, self.unsigned, "a caller without a signature")
        return Request(arguments, None, arguments.transaction)

    def read_of(self, caller: KnownCaller, verb: str, payload: bytes, now_wall_s: float) -> Request:
        """Check a request of a caller who was recognised already.

        Raises:
            CommandError: as for :meth:`read`.
        """
        arguments, transaction = self._plain(verb, payload, now_wall_s), None
        self._require_role(verb, arguments, caller.role, caller.name)
        if arguments.transaction is not None:  # nobody else can use it up
            transaction = (caller.noted_as, repr(arguments.transaction))
        return Request(arguments, caller.noted_as, transaction, door="http")

    def _plain(self, verb: str, payload: bytes, now_wall_s: float) -> Arguments:
        """The checked content of a request that is no token."""
        arguments = check_arguments(verb, parse(payload))
        if arguments.device is not None:
            self._require_meant(verb, [arguments.device])
        if arguments.expires_at is not None:
            check_expiry(verb, arguments.expires_at.timestamp(), now_wall_s)
        return arguments

    def _signed(self, verb: str, token: bytes, now_wall_s: float) -> Request:
        key_id = read_key_id(token) or ""
        signer = self.signers.get(key_id)
        if signer is None:
            raise CommandForbidden(f"{verb}: signed by a key that this device does not know (commands.keys)")
        if signer.role < find_least_role(verb):  # to verify a signature takes 100 times as long
            raise CommandForbidden(
                f"{verb}: this key may not command it; expected the role {find_least_role(verb)}"
            )
        claims = _read_claims(verb, signer.key.open(token))
        self._require_now(verb, claims, now_wall_s)
        given = claims.arguments.keys() & set(CLAIMS)
        if given:
            listed = ", ".join(sorted(given))
            raise CommandError(f"{verb}: {listed} is no argument of a signed command; a claim says it")
        arguments = check_arguments(verb, {**claims.arguments, "transaction": claims.jti})
        self._require_role(verb, arguments, signer.role, signer.name)
        return Request(arguments, signer.name, (key_id, claims.jti), claims.exp)

    def _require_now(self, verb: str, claims: "_Claims", now_wall_s: float) -> None:
        if claims.verb != verb:
            raise CommandError(f"{verb}: signed for the verb {claims.verb[:64]!r}")
        self._require_meant(verb, [claims.aud] if isinstance(claims.aud, str) else claims.aud)
        check_expiry(verb, claims.exp, now_wall_s)
        clock = f"this device's clock says {format_rfc3339(now_wall_s)}"
        if claims.exp > now_wall_s + LONGEST_S:
            latest = f"at most {LONGEST_S / 3600:g} h from now"
            raise CommandError(f"{verb}: expires at {format_rfc3339(claims.exp)}; expected {latest}; {clock}")
        begins_wall_s = max(claims.iat or 0.0, claims.nbf or 0.0)
        if begins_wall_s > now_wall_s + CLOCKS_DIFFER_S:
            raise CommandError(f"{verb}: holds from {format_rfc3339(begins_wall_s)} on; {clock}")

    def _require_meant(self, verb: str, named: Sequence[str]) -> None:
        """Refuse a request to others."""
        if self.device is None or self.device in named or not self.groups.isdisjoint(named):
            return
        shown = ", ".join(map(repr, named[:8])) or "nobody"
        raise CommandError(f"{verb}: meant for {shown}; this device is {self.device!r}")

    @staticmethod
    def _require_role(verb: str, arguments: Arguments, role: Role, who: str) -> None:
        needed = find_needed_role(verb, arguments)
        if role < needed:
            raise CommandForbidden(f"{verb}: {who} has the role {role}; expected {needed}")


def _read_claims(verb: str, content: bytes) -> "_Claims":
    try:
        return _Claims.model_validate_json(orjson.dumps(parse(content)))
    except (orjson.JSONEncodeError, ValidationError) as err:
        text = describe(err) if isinstance(err, ValidationError) else "nested too deep"
        raise CommandError(f"{verb}: claims: {text}") from err
