"""Which role a request needs. Pure."""

from collections.abc import Mapping
from enum import IntEnum

from edge_runtime.messaging.commands.request import Arguments, RolloutArguments


class Role(IntEnum):
    """What a caller may do; a greater one may do all that a smaller one may."""

    VIEWER = 1
    """Ask."""
    OPERATOR = 2
    """Change what can be taken back: recalibrate, roll back, approve, promote."""
    OWNER = 3
    """Everything."""

    @classmethod
    def of(cls, name: str) -> "Role":
        """The role with this name in the configuration."""
        return cls[name.upper()]

    def __str__(self) -> str:
        return self.name.lower()


_NEEDED: Mapping[str, Role] = {
    "status": Role.VIEWER,
    "baselines": Role.VIEWER,
    "logs": Role.VIEWER,
    "restart": Role.OWNER,
    "get-config": Role.VIEWER,
    "config-history": Role.VIEWER,
    "undo-config": Role.OWNER,
    "remove": Role.OWNER,  # a baseline that is removed does not come back
    "set-config": Role.OWNER,
}
_ASKING = frozenset({"status", "history"})
"""Actions of ``rollout`` that change nothing."""


def find_least_role(verb: str) -> Role:
    """The least role for any request with this verb."""
    return Role.VIEWER if verb == "rollout" else _NEEDED.get(verb, Role.OPERATOR)


def find_needed_role(verb: str, arguments: Arguments) -> Role:
    """The least role for this request."""
    if isinstance(arguments, RolloutArguments) and arguments.action in _ASKING:
        return Role.VIEWER
    return _NEEDED.get(verb, Role.OPERATOR)
