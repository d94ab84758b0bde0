"""``/commands``: the remote commands, for callers with tokens.

The rules are those of commands over the broker (``messaging.commands``); here is only how they travel. What is answered
at once is the answer of the POST. What takes longer is answered with 202 and an address, which has its progress, and in
the end the answer that the POST would have had. All of it is used by the server's thread alone.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.http.answers import FRESH, answer_json, guard
from edge_runtime.http.http_access import caller_of
from edge_runtime.http.request_body import find_size, read_body
from edge_runtime.messaging.commands.answers import Answer, Kind, encode_progress
from edge_runtime.messaging.commands.callers import KnownCaller
from edge_runtime.messaging.commands.lanes import Listening
from edge_runtime.messaging.commands.request import ARGUMENTS, QUICK, UNKEPT
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES, read_transaction
from edge_runtime.messaging.commands.roles import find_least_role
from edge_runtime.serving.refusals import RETRY_AFTER_S, Refusal, ended
from edge_runtime.serving.room import Room
from edge_runtime.system.supervised_thread import Crashes

MOST_REQUESTS = 32
"""Bodies that are read at a time, and answers that are waited for, of all callers."""
MOST_KEPT, MOST_KEPT_BYTES = 64, 16 * 2**20
"""Answers that may be asked for, and their bytes; first goes the oldest of who has most."""
KEPT_S = 900.0
WAIT_S, LONGEST_WAIT_S = 5.0, 60.0
"""How long a POST waits for an answer before it gives an address; a request may say ``Prefer: wait=SECONDS``."""
TURNED_OFF = (
    "commands over HTTP are turned off; http.commands: true in the configuration turns them on after a restart, for "
    "callers of http.tokens"
)
WITHOUT_TOKENS = (
    "a command needs a token, also on this machine, and the configuration in force has none: write one into "
    "a file (openssl rand -base64 24), name it in http.tokens with the role operator or owner, set http.commands: "
    "true, and restart the daemon"
)
_CODES: Mapping[Kind, int] = {
    Kind.DONE: 200,
    Kind.BAD: 400,
    Kind.FORBIDDEN: 403,
    Kind.UNKNOWN_VERB: 404,
    Kind.TOO_MANY: 429,
    Kind.UNDER_WAY: 409,
    Kind.USED: 409,
    Kind.REFUSED: 409,
    Kind.BROKEN: 500,
}
_OBEYED = (Kind.DONE, Kind.REFUSED, Kind.BROKEN)
"""Kinds of answers that a handler may have given."""


class Commands(Protocol):
    """What obeys them; implemented by ``messaging.commands.port``."""

    def put(self, verb: str, payload: bytes, known: KnownCaller, caller: Listening) -> None:
        """Have a request answered; ``caller`` hears of it in other threads."""


@dataclass(frozen=True, slots=True)
class CommandService:
    """What requests for commands need; one for the server."""

    commands: Commands | None
    """None: they are turned off."""
    is_stopping: Callable[[], bool]
    make_id: Callable[[], str]
    """A new text that cannot be guessed."""
    crashes: Crashes


class _Ticket:
    """A command that was handed on, and what is heard of it; implements ``lanes.Listening``."""

    def __init__(self, id_: str, verb: str, by: str, transaction: str | int | None) -> None:
        self.id, self.verb, self.by, self.transaction = id_, verb, by, transaction
        self.progress = encode_progress({"phase": "begun"}, transaction)
        self.answer_or_none: Answer | None = None
        self.is_dropped = False
        self.is_told = False
        """Its address was given."""
        self.ended = asyncio.Event()
        self.on_end: Callable[[], object] = bool
        self.expiry: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def may_act(self) -> bool:
        """Whether it is, or may be, the one of its transaction that was begun."""
        return not self.is_dropped and (self.answer_or_none is None or self.answer_or_none.kind in _OBEYED)

    @property
    def size_bytes(self) -> int:
        """The share of ``MOST_KEPT_BYTES`` that it takes."""
        least = MOST_KEPT_BYTES // MOST_KEPT
        return least if self.answer_or_none is None else max(least, len(self.answer_or_none.payload))

    def answer(self, answer: Answer) -> None:
        self._call(self._end, answer)

    def report(self, payload: bytes) -> None:
        self._call(self._note, payload)

    def drop(self) -> None:
        self._call(self._end, None)

    def _call(self, do: Callable[[Any], None], given: object) -> None:
        with suppress(RuntimeError):  # the server has ended, and with it who waits
            self._loop.call_soon_threadsafe(do, given)

    def _note(self, payload: bytes) -> None:
        self.progress = payload

    def _end(self, answer: Answer | None) -> None:
        self.answer_or_none, self.is_dropped = answer, answer is None
        self.ended.set()
        self.on_end()


class _Desk:
    """The commands that are under way or not asked for."""

    def __init__(self, service: CommandService) -> None:
        self._service = service
        self._tickets, self._done = dict[str, _Ticket](), dict[str, _Ticket]()
        """All that may be asked for, as they came; of these the ones with an answer, as they ended."""
        self._bodies = Room(MOST_REQUESTS, MOST_REQUESTS * MAX_REQUEST_BYTES)
        self._waiting = 0

    async def list_verbs(self, request: Request) -> Response:
        """What this caller may command, with the form of the arguments."""
        known, _ = self._enter(request)
        verbs = {
            verb: {
                "role": str(find_least_role(verb)),
                "arguments": arguments.model_json_schema(by_alias=True),
            }
            for verb, arguments in ARGUMENTS.items()
            if find_least_role(verb) <= known.role
        }
        return answer_json({"caller": known.name, "role": str(known.role), "verbs": verbs})

    async def post(self, request: Request) -> Response:
        """Hand a command on, and wait a while for its answer."""
        known, commands = self._enter(request)
        verb, wait_s = request.path_params["verb"], _read_wait(request, WAIT_S)
        size_bytes = find_size(request, MAX_REQUEST_BYTES, "a command")
        with self._bodies.enter(size_bytes):
            payload = await read_body(request, size_bytes, "a command")
        ticket = _Ticket(self._service.make_id(), verb, known.noted_as, read_transaction(payload))
        self._tickets[ticket.id] = ticket
        commands.put(verb, payload, known, ticket)
        await self._wait(ticket, wait_s)
        if not ticket.ended.is_set():
            ticket.on_end = partial(self._keep, ticket)
        elif ticket.is_told:  # to a repetition of it
            self._keep(ticket)
        else:
            self._forget(ticket)
        return self._show(request, self._find_acting(ticket))

    async def get(self, request: Request) -> Response:
        """How far a command is, or its answer."""
        known, _ = self._enter(request)
        ticket = self._tickets.get(request.path_params["id"])
        if ticket is None or (ticket.verb, ticket.by) != (request.path_params["verb"], known.noted_as):
            raise Refusal(
                404,
                "no such command of yours; answers are kept for a while only: POST the same bytes again, a transaction "
                "that was used is not obeyed twice",
            )
        await self._wait(ticket, _read_wait(request, 0.0))
        acting = self._find_acting(ticket)
        if acting.ended.is_set() and acting.verb in UNKEPT:
            self._forget(acting)
        return self._show(request, acting)

    def _enter(self, request: Request) -> tuple[KnownCaller, Commands]:
        caller = caller_of(request)
        if caller is None or caller.name is None:
            raise Refusal(403, WITHOUT_TOKENS)
        if self._service.commands is None:
            raise Refusal(403, TURNED_OFF)
        if self._service.is_stopping():
            raise ended()
        return KnownCaller(caller.name, caller.role), self._service.commands

    async def _wait(self, ticket: _Ticket, wait_s: float) -> None:
        """Until it is answered, or for so long; not at all where enough others wait, which must stop no quick one."""
        is_slow = ticket.verb not in QUICK
        if is_slow and self._waiting >= MOST_REQUESTS:
            return
        self._waiting += is_slow
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(ticket.ended.wait(), wait_s)
        finally:
            self._waiting -= is_slow

    def _find_acting(self, ticket: _Ticket) -> _Ticket:
        """The one that a repetition repeats, while that is under way or kept; else the ticket itself."""
        if ticket.answer_or_none is None or ticket.answer_or_none.kind is not Kind.UNDER_WAY:
            return ticket
        wanted = (ticket.verb, ticket.by, ticket.transaction)
        same = (one for one in self._tickets.values() if (one.verb, one.by, one.transaction) == wanted)
        return min(
            (one for one in same if one.may_act),
            key=lambda one: one.answer_or_none is not None,
            default=ticket,
        )

    def _keep(self, ticket: _Ticket) -> None:
        """An answer is there: until ``KEPT_S`` are over, or others need the room, but no caller takes another's."""
        self._done[ticket.id] = ticket
        ticket.expiry = asyncio.get_running_loop().call_later(KEPT_S, self._forget, ticket)
        while sum(one.size_bytes for one in self._done.values()) > MOST_KEPT_BYTES:
            held = Counter[str]()
            for one in self._done.values():
                held[one.by] += one.size_bytes
            greediest = held.most_common(1)[0][0]
            self._forget(next(one for one in self._done.values() if one.by == greediest))

    def _forget(self, ticket: _Ticket) -> None:
        self._tickets.pop(ticket.id, None)
        self._done.pop(ticket.id, None)
        if ticket.expiry is not None:
            ticket.expiry.cancel()

    def _show(self, request: Request, ticket: _Ticket) -> Response:
        if ticket.is_dropped:
            raise Refusal(429, "too many commands; try again later", {"Retry-After": str(RETRY_AFTER_S)})
        answer = ticket.answer_or_none
        if answer is None:
            ticket.is_told = True
            address = f"{request.scope.get('root_path', '')}/commands/{ticket.verb}/{ticket.id}"
            headers = {**FRESH, "Location": address, "Retry-After": str(RETRY_AFTER_S)}
            return Response(ticket.progress, 202, headers, "application/json")
        code = _CODES[answer.kind]
        more = {"Retry-After": str(RETRY_AFTER_S)} if code == 429 else {}
        return Response(answer.payload, code, {**FRESH, **more}, "application/json")


def make_command_routes(service: CommandService) -> list[Route]:
    """``/commands``, ``/commands/{verb}`` and ``/commands/{verb}/{id}``."""
    desk = _Desk(service)
    endpoint = partial(guard, service.crashes, "http-command")
    return [
        Route("/commands", endpoint(desk.list_verbs)),
        Route("/commands/{verb}", endpoint(desk.post), methods=["POST"]),
        Route("/commands/{verb}/{id}", endpoint(desk.get)),
    ]


def _read_wait(request: Request, usual_s: float) -> float:
    """RFC 7240, section 4.3; a preference that is not understood is ignored."""
    found = re.search(r"(?:^|[,; ])wait=([0-9]{1,6})(?=$|[,; ])", request.headers.get("prefer", ""))
    return usual_s if found is None else min(float(found[1]), LONGEST_WAIT_S)
