"""The active generation and the steps that may follow: a transition table. Pure.

A *generation* is a bundle version plus, possibly, a patch. Exactly one is active at any time. The rules:

- The base generation (no patch) is always available; it remains when everything else fails.
- A patched generation is activated when it was built, warmed and checked; the one it replaces becomes ``previous``.
- Rolling back goes to ``previous``, or to the base when the previous one is the active one or is not known.
- An illegal step raises and changes nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

from edge_runtime.datatypes import Generation


class Step(StrEnum):
    """A change of the rollout."""

    ACTIVATE = "activate"
    ROLL_BACK = "roll_back"
    TO_BASE = "to_base"


class IllegalStep(Exception):
    """The step is not allowed in this state; nothing was changed."""

    def __init__(self, step: str, state: object, situation: str) -> None:
        self.step, self.state = step, state
        super().__init__(f"cannot {step} while {situation}")


@dataclass(frozen=True, slots=True)
class Rollout:
    """The state: one active generation, perhaps the one before."""

    active: Generation
    previous: Generation | None = None

    def after(self, step: Step, candidate: Generation | None = None) -> "Rollout":
        """The state after a step; ``candidate`` is the generation to activate.

        Raises:
            IllegalStep: not allowed now.
        """
        base = self.active.base
        match step:
            case Step.ACTIVATE if candidate is not None and candidate != self.active:
                return Rollout(active=candidate, previous=self.active)
            case Step.ROLL_BACK if self.active != base:
                target = self.previous if self.previous not in (None, self.active) else base
                return Rollout(active=target or base)
            case Step.TO_BASE if self.active != base:
                return Rollout(active=base, previous=self.active)
        raise IllegalStep(step, self, f"active is {self.active}")
