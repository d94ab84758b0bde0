"""The tokens of all callers, from their files, as they are now: a new token counts as soon as it is in its file."""

from collections.abc import Callable, Mapping

import structlog

from edge_runtime.config.http_requests import HttpTokenConfig, read_token
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.token_holder import TokenHolder, hash_token
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.regular_file import Marks, read_marks

LOOK_EVERY_S = 1.0
log = structlog.get_logger()


class TokenFiles:
    """Used by one thread at a time.

    Args:
        callers: As in the configuration.
        clock: Monotonic seconds.
    """

    def __init__(self, callers: Mapping[str, HttpTokenConfig], clock: Callable[[], float]) -> None:
        self._callers, self._clock = callers, clock
        self._marks: dict[str, Marks] = {}
        self._holders: dict[str, TokenHolder] = {}
        self._looks_at_s = float("-inf")

    def holders(self) -> tuple[TokenHolder, ...]:
        """Callers with a token. One whose file cannot be read, or holds none, has no rights, and the others theirs."""
        now_s = self._clock()
        if now_s >= self._looks_at_s:
            self._looks_at_s = now_s + LOOK_EVERY_S
            for name, one in self._callers.items():
                self._look(name, one)
        return tuple(self._holders.values())

    def _look(self, name: str, caller: HttpTokenConfig) -> None:
        marks = read_marks(caller.file)
        if self._marks.get(name) == marks:
            return
        self._marks[name] = marks
        self._holders.pop(name, None)
        try:
            token = read_token(caller.file)
        except (OSError, ValueError) as err:
            log.error("a caller over HTTP has no token", caller=name, file=str(caller.file), reason=str(err))
            return
        PROCESS.learn([token])
        self._holders[name] = TokenHolder(name, Role.of(caller.role), hash_token(token))
