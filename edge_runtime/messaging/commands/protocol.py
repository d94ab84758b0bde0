"""Remote commands: which request is obeyed, and its answer. Pure: no client, no thread, no clock.

The answer is ``{"status": "ok", "data": …}`` or ``{"status": "error", "error": "…"}``, with the same transaction.

Rules, in this order:
    1. A retained request is ignored and counted: it would be obeyed again at every connection.
    2. Commands are off unless the configuration turns them on.
    3. What is malformed, unknown, invalid, expired or meant for another device is refused and changes nothing.
    4. A *read* (``is_read``) changes nothing. Each verb has its own budget; beyond it the answer is that of the newest
       equal read, so that a flood of one read keeps no caller from an answer.
    5. A *change* acts at most once: a transaction that was used is answered with the same bytes, or with a refusal
       where the answer is not kept any more; with other content it is refused. It is noted on disk before it acts and
       known by order, not by time: neither a kill nor a clock makes it new. A change without a transaction cannot be
       recognised: the broker hands a copy on like any other message. It is obeyed, and counted as ``unmarked``.
    6. Each verb has its own budget of valid changes, and bad requests have one: beyond it they are only counted.
       Neither garbage nor another verb takes from it.
    7. A handler may answer later (``later``). Until then a repetition is refused: it is under way.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.errors import CommandError, CommandForbidden, EdgeRuntimeError, StateError, UnknownVerb
from edge_runtime.messaging.commands.answers import (
    NOT_KEPT,
    OFF,
    REPEATED,
    TOO_LARGE,
    UNDER_WAY,
    UNEXPECTED,
    Answer,
    Kind,
    encode_data,
    encode_error,
    encode_progress,
)
from edge_runtime.messaging.commands.callers import Callers, KnownCaller, Request
from edge_runtime.messaging.commands.later import Begun, Later, Outcome
from edge_runtime.messaging.commands.records import DIGEST_BYTES, Entry, UsedTransactions
from edge_runtime.messaging.commands.request import ARGUMENTS, UNKEPT, Arguments, is_read
from edge_runtime.messaging.commands.request_text import read_transaction
from edge_runtime.messaging.commands.roles import Role, find_least_role
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.token_bucket import TokenBucket

SHARED_S = 1.0
"""How old the answer to a read may be that another one gets, seconds."""
MOST_OUTCOME = 1000
"""Characters of a refusal that are noted."""

VerbHandler = Callable[[Request], Mapping[str, Any] | Later]
"""Gets the checked request, gives the data of the answer, or says that it comes later.

A :class:`CommandError` becomes an error answer.
"""


@dataclass(frozen=True, slots=True)
class CommandPolicy:
    """Limits of the commands of one device."""

    is_enabled: bool = False
    callers: Callers = field(default_factory=Callers)
    """Who may command it."""
    rate_per_s: float = 5.0
    burst: int = 20
    """Of each verb, and of answers to bad requests."""
    shared_per_s: float = 1500.0
    """Answers a second beyond that which cost no more than their bytes: to equal reads, to repeated changes."""


@dataclass(frozen=True, slots=True)
class _Read:
    """The newest answer to a read."""

    arguments: Arguments
    """Without what differs from request to request."""
    data: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class _Settled:
    """A command that was answered."""

    answer: Answer
    data: bytes | None
    """None when the handler said no, or broke."""


class CommandHandler:
    """Turns requests into answers and calls the handlers. Belongs to one thread; ``used`` may be shared."""

    def __init__(
        self,
        handlers: Mapping[str, VerbHandler],
        policy: CommandPolicy,
        used: UsedTransactions,
        note: Callable[[Entry], None] = lambda _: None,
    ) -> None:
        """Nothing is obeyed yet.

        Args:
            handlers: A callable for every verb this device obeys; others are answered as not available.
            policy: Limits, and who may command it.
            used: Recognises what was obeyed before.
            note: Given every change that was carried out, or that its handler refused.
        """
        self._handlers, self._policy, self._used, self._note = handlers, policy, used, note
        self._budgets = {verb: TokenBucket(policy.rate_per_s, policy.burst) for verb in ARGUMENTS}
        self._read_budgets = {verb: TokenBucket(policy.rate_per_s, policy.burst) for verb in ARGUMENTS}
        self._bad = TokenBucket(policy.rate_per_s, policy.burst)
        self._shared = TokenBucket(policy.shared_per_s, max(1, round(policy.shared_per_s)))
        self._reads: dict[str, _Read] = {}
        kinds = ("executed", "failed", "refused", "unanswered", "repeated", "retained", "shared", "unmarked")
        self.counts = Counter(dict.fromkeys(kinds, 0))
        """Requests ``executed``, ``failed`` (the handler said no), ``refused`` and ``unanswered`` (too many to answer),
        ``repeated``, ``retained``, ``shared`` (reads with the answer of another); ``unmarked``: changes that had no
        transaction."""

    def answer(
        self,
        verb: str,
        payload: bytes,
        *,
        is_retained: bool,
        now_s: float,
        now_wall_s: float,
        on_begin: Callable[[Request], None] = lambda _: None,
        known: KnownCaller | None = None,
    ) -> Answer | Begun | None:
        """The answer to send; None when nothing must be sent (see the rules of the module).

        Of a command that is answered later, its work, which has not begun. ``on_begin`` is called before a change acts.
        ``known``: the caller, where the way on which the request came tells who it is.
        """
        if is_retained:
            self.counts["retained"] += 1
            return None
        if not self._policy.is_enabled:
            return self._refuse(OFF, payload, now_s, Kind.FORBIDDEN)
        callers = self._policy.callers
        try:
            if known is None:
                request = callers.read(verb, payload, now_wall_s)
            else:
                request = callers.read_of(known, verb, payload, now_wall_s)
        except CommandError as err:
            return self._refuse(str(err), payload, now_s, _find_kind(err))
        if is_read(verb, request.arguments):
            return self._read(verb, request, payload, now_s, now_wall_s)
        return self._change_once(verb, request, payload, now_s, now_wall_s, on_begin)

    def _refuse(self, text: str, payload: bytes, now_s: float, kind: Kind) -> Answer | None:
        self.counts["refused"] += 1
        if not self._bad.take(now_s):
            self.counts["unanswered"] += 1
            return None
        return Answer(encode_error(text, read_transaction(payload)), kind)

    def _refuse_flood(self, verb: str, payload: bytes, now_s: float) -> Answer | None:
        limit = f"{self._policy.rate_per_s:g} a second"
        text = f"{verb}: too many commands, at most {limit}; try again later"
        return self._refuse(text, payload, now_s, Kind.TOO_MANY)

    def _read(
        self, verb: str, request: Request, payload: bytes, now_s: float, now_wall_s: float
    ) -> Answer | Begun | None:
        arguments = request.arguments
        asked = arguments.model_copy(update={"transaction": None, "expires_at": None, "device": None})
        if self._read_budgets[verb].take(now_s):
            found = self._execute(verb, request, now_wall_s)
            if isinstance(found, Begun):
                return found
            if found.data is not None:
                self._reads[verb] = _Read(asked, found.data, now_s)
            return found.answer
        newest = self._reads.get(verb)
        if newest is None or newest.arguments != asked or now_s - newest.at_s > SHARED_S:
            return self._refuse_flood(verb, payload, now_s)
        if not self._may_share(now_s):
            return None
        self.counts["shared"] += 1
        return Answer(encode_data(newest.data, arguments.transaction), Kind.DONE)

    def _may_share(self, now_s: float) -> bool:
        """Whether one more answer may be sent that costs nothing but its bytes."""
        may = self._shared.take(now_s)
        self.counts["unanswered"] += not may
        return may

    def _change_once(
        self,
        verb: str,
        request: Request,
        payload: bytes,
        now_s: float,
        now_wall_s: float,
        on_begin: Callable[[Request], None],
    ) -> Answer | Begun | None:
        transaction, used_as = request.arguments.transaction, request.used_as
        digest = hashlib.sha256(verb.encode() + b"\0" + payload).digest()[:DIGEST_BYTES]
        known = None if used_as is None else self._used.find(used_as)
        if known is not None:
            if known.request != digest:
                text = f"transaction {transaction!r} was used for another request"
                return self._refuse(text, payload, now_s, Kind.USED)
            self.counts["repeated"] += 1
            if known.answer is None:
                kind = Kind.UNDER_WAY if known.is_under_way else Kind.USED
                text = UNDER_WAY if known.is_under_way else REPEATED
                return self._refuse(text.format(transaction=transaction), payload, now_s, kind)
            return Answer.of_kept(known.answer) if self._may_share(now_s) else None
        if not self._budgets[verb].take(now_s):
            return self._refuse_flood(verb, payload, now_s)
        if used_as is None:
            self.counts["unmarked"] += 1
        else:
            # Noted before it acts: a handler that breaks half-way must not be run a second time by a repetition.
            try:
                for_owners = find_least_role(verb) is Role.OWNER
                self._used.begin(used_as, digest, request.expires_wall_s, now_wall_s, for_owners=for_owners)
            except StateError as err:
                text = f"{verb}: nothing was done, because {err}"
                return self._refuse(text, payload, now_s, Kind.REFUSED)
        on_begin(request)
        found = self._execute(verb, request, now_wall_s)
        return found if isinstance(found, Begun) else found.answer

    def _execute(self, verb: str, request: Request, now_wall_s: float) -> _Settled | Begun:
        """Call the handler, and settle what it did, unless that comes later. Also a handler that broke is settled."""
        found: bytes | Later | EdgeRuntimeError | None = None
        try:
            found = self._obey(verb, request)
        finally:
            if found is None:
                self._settle(verb, request, None, now_wall_s)
        if isinstance(found, Later):
            return self._begin(verb, request, found)
        settled = self._settle(verb, request, found, now_wall_s)
        self.counts["failed" if settled.data is None else "executed"] += 1
        return settled

    def _obey(self, verb: str, request: Request) -> bytes | Later | EdgeRuntimeError:
        handler = self._handlers.get(verb)
        if handler is None:
            return CommandError(f"{verb} is not available on this device")
        try:
            found = handler(request)
        except EdgeRuntimeError as err:
            return err
        return found if isinstance(found, Later) else encode_object(dict(found))

    def _begin(self, verb: str, request: Request, later: Later) -> Begun:
        def settle(outcome: Outcome, done_wall_s: float) -> Answer:
            data = encode_object(dict(outcome)) if isinstance(outcome, Mapping) else outcome
            return self._settle(verb, request, data, done_wall_s).answer

        transaction = request.arguments.transaction
        return Begun(verb, later, settle, lambda data: encode_progress(data, transaction))

    def _settle(
        self, verb: str, request: Request, outcome: bytes | EdgeRuntimeError | None, now_wall_s: float
    ) -> _Settled:
        """Encode the answer, keep it for a repetition, and note the change. Of a later answer: in any thread.

        ``outcome`` is the data; or why the handler said no; None when it broke.
        """
        arguments, transaction, data = request.arguments, request.arguments.transaction, None
        if isinstance(outcome, bytes):
            text, data, kind, answer = "ok", outcome, Kind.DONE, encode_data(outcome, transaction)
        else:
            text = UNEXPECTED if outcome is None else str(outcome)
            kind = Kind.BROKEN if outcome is None else Kind.REFUSED
            answer = encode_error(text, transaction)
        if not is_read(verb, arguments):
            if request.used_as is not None:
                kept = answer
                if verb in UNKEPT and data is not None:
                    kept = encode_error(NOT_KEPT.format(transaction=transaction), transaction)
                self._used.finish(request.used_as, kept)
            given = arguments.as_noted()
            self._note(Entry(now_wall_s, request.by, verb, given, transaction, text[:MOST_OUTCOME]))
        return _Settled(Answer(answer, kind), data)

    @property
    def forgotten(self) -> int:
        """Used transactions that a damaged file has lost."""
        return self._used.damaged

    @staticmethod
    def encode_too_large(payload: bytes, size_bytes: int, room_bytes: int) -> bytes:
        """The answer to a request in the place of one that the broker does not take."""
        text = TOO_LARGE.format(size_bytes=size_bytes, room_bytes=room_bytes)
        return encode_error(text, read_transaction(payload))

    @staticmethod
    def make_unexpected(payload: bytes) -> Answer:
        """The answer when ``answer`` raised: a handler has a bug."""
        return Answer(encode_error(UNEXPECTED, read_transaction(payload)), Kind.BROKEN)


def _find_kind(err: CommandError) -> Kind:
    """Of a request that was refused before its handler saw it."""
    match err:
        case UnknownVerb():
            return Kind.UNKNOWN_VERB
        case CommandForbidden():
            return Kind.FORBIDDEN
    return Kind.BAD
