"""Remote commands: the form of a request, and its answer. Pure: no client, no thread, no clock.

A request is a JSON object of at most 64 KiB, or nothing at all for a verb that needs no arguments::

    {"transaction": "any text", "expires_at": "2026-11-23T15:20:59Z", ...arguments of the verb}

The answer is ``{"status": "ok", "data": …}`` or ``{"status": "error", "error": "…"}``, with the same transaction.

Rules, in this order:
    1. A retained request is ignored and counted: it would be obeyed again at every connection.
    2. Commands are off unless the configuration turns them on.
    3. What is malformed, unknown, invalid or expired is refused and changes nothing.
    4. A transaction that was answered within the window is answered with the same bytes, and not executed again; the
       same transaction with other content is refused.
    5. Valid commands are limited in rate; so are answers to bad ones (beyond it they are only counted), each on its
       own account: a flood of garbage does not keep a good command from being served.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.config.values import BASELINE_PATTERN
from edge_runtime.errors import CommandError, EdgeRuntimeError
from edge_runtime.messaging.encoding import encode_object

MAX_REQUEST_BYTES = 64 * 1024
UNEXPECTED = "the command failed unexpectedly; the device's log says why"
OFF = "commands are turned off in the configuration: mqtt.commands"

Name = Annotated[str, Field(min_length=1, max_length=128)]
BaselineName = Annotated[str, Field(pattern=BASELINE_PATTERN)]
Days = Annotated[float, Field(gt=0, le=36_500)]


class Arguments(BaseModel):
    """Every request may carry these; ``status`` has no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    transaction: Name | int | None = None
    """Chosen by the caller; a repeated request is recognised by it."""
    expires_at: AwareDatetime | None = None
    """After this moment the request is refused instead of obeyed."""


class ModelArguments(Arguments):
    """``rollback``: back to the previous generation. ``baselines``: list those of a model."""

    model: Name | None = None
    """A model of the configuration; None when there is only one."""


class RecalibrateArguments(ModelArguments):
    """``recalibrate``: collect frames, try the candidates, let the gate decide."""

    stream: Name | None = None
    """Use only this stream's reservoir."""


class CommissionArguments(ModelArguments):
    """``commission``: approve the pictures of now as the healthy baseline."""

    stream: Name | None = None
    frames: Annotated[int, Field(ge=8, le=4096)] | None = None
    """How many frames from now on to use, at most the reservoir; None is ``recalibration.commission.frames``."""
    name: BaselineName | None = None
    """Name of this state of the site, like day or night; None is ``recalibration.commission.name``."""
    expires_days: Days | None = None
    """After that no patch is made from it until it is approved again; None is ``commission.expires_days``."""


class BaselineArguments(ModelArguments):
    """``expire``: make no more patches from a baseline."""

    name: BaselineName | None = None
    """None is the baseline in use."""


class ApproveArguments(BaselineArguments):
    """``approve``: confirm, after a look at the site, that it is as healthy as a baseline shows it."""

    expires_days: Days | None = None
    """How long that holds; None is without end."""


class RemoveArguments(ModelArguments):
    """``remove``: forget a baseline for good."""

    name: BaselineName


ARGUMENTS: Mapping[str, type[Arguments]] = {
    "status": Arguments,
    "recalibrate": RecalibrateArguments,
    "rollback": ModelArguments,
    "commission": CommissionArguments,
    "baselines": ModelArguments,
    "approve": ApproveArguments,
    "bless": ApproveArguments,  # the old name, for one release
    "expire": BaselineArguments,
    "remove": RemoveArguments,
}

VerbHandler = Callable[[Any], Mapping[str, Any]]
"""Gets the validated arguments, gives the data of the answer; a :class:`CommandError` becomes an error answer."""


@dataclass(frozen=True, slots=True)
class CommandPolicy:
    """Limits of the commands of one device."""

    is_enabled: bool = False
    window_s: float = 600.0
    """How long an answered transaction is remembered."""
    rate_per_s: float = 5.0
    burst: int = 20
    max_remembered: int = 4096
    """More than ``rate_per_s * window_s + burst``, so the window is never cut short by many commands."""


class _Bucket:
    """Token bucket."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._tokens, self._at_s = float(burst), inf

    def take(self, now_s: float) -> bool:
        passed_s = max(0.0, now_s - self._at_s)
        self._tokens, self._at_s = min(self._burst, self._tokens + passed_s * self._rate_per_s), now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def decode(verb: str, payload: bytes, now_wall_s: float) -> Arguments:
    """Check a request.

    Raises:
        CommandError: names the fault and the expectation, for the caller.
    """
    arguments = ARGUMENTS.get(verb)
    if arguments is None:
        raise CommandError(f"unknown verb {verb[:64]!r}; known are {', '.join(ARGUMENTS)}")
    content = _parse(payload)
    try:
        # From JSON once more: pydantic's strict mode takes a time from JSON text but not from a Python string.
        checked = arguments.model_validate_json(orjson.dumps(content))
    except orjson.JSONEncodeError as err:
        raise CommandError(
            f"{verb}: the request is nested too deep; the arguments of all verbs are flat"
        ) from err
    except ValidationError as err:
        raise CommandError(f"{verb}: {_describe(err)}") from err
    at = checked.expires_at
    if at is not None and at.timestamp() < now_wall_s:
        raise CommandError(f"{verb}: expired at {at.isoformat()}; send it again with a later expires_at")
    return checked


def _parse(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_REQUEST_BYTES:
        raise CommandError(f"the request has {len(payload)} bytes; at most {MAX_REQUEST_BYTES} are accepted")
    if not payload:
        return {}
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError as err:
        raise CommandError(f"the request is not JSON: {err.msg} at byte {err.pos}") from err
    if not isinstance(content, dict):
        raise CommandError(f"the request is a JSON {type(content).__name__}; expected an object")
    return content


def _describe(err: ValidationError) -> str:
    """Arguments are flat; pydantic adds the name of a member of a union to a location."""
    problems = []
    for problem in err.errors(include_url=False, include_context=False)[:8]:
        where = str(problem["loc"][0])[:64] if problem["loc"] else "request"
        is_unknown = problem["type"] == "extra_forbidden"
        problems.append(f"{where}: {'no argument of this verb' if is_unknown else problem['msg']}")
    return "; ".join(problems)


def read_transaction(payload: bytes) -> str | int | None:
    """The transaction of a request that may be bad in other ways, so that its caller recognises the answer."""
    try:
        found = _parse(payload).get("transaction")
    except CommandError:
        return None
    is_usable = (isinstance(found, str) and 0 < len(found) <= 128) or type(found) is int
    return found if is_usable else None


@dataclass(frozen=True, slots=True)
class _PastAnswer:
    """A transaction that is done."""

    request: tuple[str, bytes]
    answer: bytes
    at_s: float


class CommandHandler:
    """Turns requests into answers and calls the handlers. Belongs to one thread."""

    def __init__(self, handlers: Mapping[str, VerbHandler], policy: CommandPolicy) -> None:
        """``handlers`` has a callable for every verb this device obeys; others are answered as not available."""
        self._handlers, self._policy = handlers, policy
        self._valid = _Bucket(policy.rate_per_s, policy.burst)
        self._bad = _Bucket(policy.rate_per_s, policy.burst)
        self._answered: OrderedDict[str | int, _PastAnswer] = OrderedDict()
        kinds = ("executed", "failed", "refused", "unanswered", "repeated", "retained")
        self.counts = Counter(dict.fromkeys(kinds, 0))
        """Requests ``executed``, ``failed`` (the handler said no), ``refused`` and ``unanswered`` (too many to refuse),
        ``repeated``, ``retained``."""

    def answer(
        self, verb: str, payload: bytes, *, is_retained: bool, now_s: float, now_wall_s: float
    ) -> bytes | None:
        """The answer to send, as JSON bytes; None when nothing must be sent (see the rules of the module)."""
        if is_retained:
            self.counts["retained"] += 1
            return None
        if not self._policy.is_enabled:
            return self._refuse(OFF, payload, now_s)
        try:
            arguments = decode(verb, payload, now_wall_s)
        except CommandError as err:
            return self._refuse(str(err), payload, now_s)
        return self._obey_once(verb, arguments, payload, now_s)

    def _refuse(self, text: str, payload: bytes, now_s: float) -> bytes | None:
        self.counts["refused"] += 1
        if not self._bad.take(now_s):
            self.counts["unanswered"] += 1
            return None
        return _encode_error(text, read_transaction(payload))

    def _obey_once(self, verb: str, arguments: Arguments, payload: bytes, now_s: float) -> bytes | None:
        transaction, request = arguments.transaction, (verb, payload)
        self._forget(now_s)
        known = self._answered.get(transaction) if transaction is not None else None
        if known is not None:
            if known.request != request:
                return self._refuse(
                    f"transaction {transaction!r} was used for another request", payload, now_s
                )
            self.counts["repeated"] += 1
            return known.answer
        if not self._valid.take(now_s):
            limit = f"{self._policy.rate_per_s:g} a second"
            return self._refuse(
                f"{verb}: too many commands, at most {limit}; try again later", payload, now_s
            )
        if transaction is None:
            return self._execute(verb, arguments)
        # Noted before it acts: a handler that breaks half-way must not be run a second time by a repetition.
        self._answered[transaction] = _PastAnswer(request, _encode_error(UNEXPECTED, transaction), now_s)
        answer = self._execute(verb, arguments)
        self._answered[transaction] = _PastAnswer(request, answer, now_s)
        return answer

    @staticmethod
    def encode_unexpected(payload: bytes) -> bytes:
        """The answer when ``answer`` raised: a handler has a bug."""
        return _encode_error(UNEXPECTED, read_transaction(payload))

    def _forget(self, now_s: float) -> None:
        while self._answered:
            oldest = next(iter(self._answered.values()))
            is_full = len(self._answered) >= self._policy.max_remembered
            if not is_full and now_s - oldest.at_s <= self._policy.window_s:
                return
            self._answered.popitem(last=False)

    def _execute(self, verb: str, arguments: Arguments) -> bytes:
        handler = self._handlers.get(verb)
        try:
            if handler is None:
                raise CommandError(f"{verb} is not available on this device")
            data = handler(arguments)
        except EdgeRuntimeError as err:
            self.counts["failed"] += 1
            return _encode_error(str(err), arguments.transaction)
        self.counts["executed"] += 1
        return encode_object({"status": "ok", "data": dict(data), "transaction": arguments.transaction})


def _encode_error(text: str, transaction: str | int | None) -> bytes:
    return encode_object({"status": "error", "error": text, "transaction": transaction})
