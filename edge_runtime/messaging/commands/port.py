"""Takes requests of callers who were recognised before, such as the holders of tokens over HTTP.

They are obeyed by the same rules as those over the broker, with budgets and lanes of their own: a flood on one way
takes nothing from the other one. How many of a verb may be under way counts for both together: that is about the box.
"""

from collections.abc import Callable

from edge_runtime.messaging.commands.answers import Answer
from edge_runtime.messaging.commands.callers import KnownCaller, Request
from edge_runtime.messaging.commands.lanes import Incoming, Lanes, Listening, shorten
from edge_runtime.messaging.commands.protocol import CommandHandler
from edge_runtime.messaging.commands.unanswered import Unanswered, UnansweredRequest
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.system.supervised_thread import Crashes


class CommandPort:
    """See the module."""

    def __init__(
        self,
        make_handler: Callable[[], CommandHandler],
        under_way: UnderWay,
        crashes: Crashes,
        unanswered: Unanswered,
    ) -> None:
        """Answer from now on.

        Args:
            make_handler: A handler for each lane.
            under_way: Does the work of commands that are answered later.
            crashes: The account of unexpected failures.
            unanswered: Keeps on disk what was begun, so that a start after a kill can tell what became of it.
        """
        self._lanes, self._unanswered = Lanes("commands-http", make_handler, under_way, crashes), unanswered

    def put(self, verb: str, payload: bytes, known: KnownCaller, caller: Listening) -> None:
        """Have a request answered; ``caller`` hears of it in the threads of the commands."""
        noting, payload = _Noting(verb, caller, self._unanswered), shorten(payload)
        self._lanes.put(Incoming(verb, payload, noting, len(payload), known=known))

    def stop(self, timeout_s: float = 2.0) -> None:
        """Execute no more; idempotent."""
        self._lanes.stop(timeout_s)


class _Noting:
    """A caller whose changes are noted on disk until they are answered; implements ``lanes.Caller``."""

    def __init__(self, verb: str, caller: Listening, unanswered: Unanswered) -> None:
        self._verb, self._caller, self._unanswered = verb, caller, unanswered
        self._number: int | None = None

    def begin(self, request: Request, now_wall_s: float) -> None:
        self._number = self._unanswered.begin(UnansweredRequest.of(self._verb, request, now_wall_s))

    def answer(self, answer: Answer) -> None:
        self._caller.answer(answer)
        self._unanswered.end(self._number)

    def report(self, payload: bytes) -> None:
        self._caller.report(payload)

    def drop(self) -> None:
        self._caller.drop()
