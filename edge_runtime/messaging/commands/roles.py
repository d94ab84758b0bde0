"""Which role a request needs. Pure."""

from collections.abc import Mapping
from enum import IntEnum

from edge_runtime.messaging.commands.request import READS, Arguments, is_read


class Role(IntEnum):
    """What a caller may do; a greater one may do all that a smaller one may."""

    VIEWER = 1
    """Ask."""
    OPERATOR = 2
    """Change what the models answer: recalibrate, roll back, approve, promote."""
    OWNER = 3
    """Everything."""

    @classmethod
    def of(cls, name: str) -> "Role":
        """The role with this name in the configuration."""
        return cls[name.upper()]

    def __str__(self) -> str:
        return self.name.lower()


_NEEDED: Mapping[str, Role] = {
    "install": Role.OWNER,
    "restart": Role.OWNER,
    "undo-config": Role.OWNER,
    "set-config": Role.OWNER,
}


def find_least_role(verb: str) -> Role:
    """The least role for any request with this verb."""
    may_ask = verb in READS or verb == "rollout"
    return Role.VIEWER if may_ask else _NEEDED.get(verb, Role.OPERATOR)


def find_needed_role(verb: str, arguments: Arguments) -> Role:
    """The least role for this request."""
    return Role.VIEWER if is_read(verb, arguments) else _NEEDED.get(verb, Role.OPERATOR)
