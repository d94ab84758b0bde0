"""The active generation and the steps that may follow: a transition table. Pure.

A *generation* is a bundle version plus, possibly, a patch. Exactly one complete generation
is active at any time. The rules:

- The base generation (no patch) is always available; it remains when everything else fails.
- A patched generation is *staged* first (built, warmed, checked) and only then *activated*; the one it replaces
  becomes ``previous``.
- Rolling back goes to ``previous``, or to the base when the previous one is the active one or is not known.
- An illegal step raises and changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from edge_runtime.datatypes import Generation


class Step(StrEnum):
    """A change of the rollout."""

    STAGE = "stage"
    ACTIVATE = "activate"
    DISCARD = "discard"
    ROLL_BACK = "roll_back"
    TO_BASE = "to_base"


class IllegalStep(Exception):
    """The step is not allowed in this state; nothing was changed."""

    def __init__(self, step: Step, state: "Rollout") -> None:
        self.step, self.state = step, state
        super().__init__(f"cannot {step} while active is {state.active} and staged is {state.staged}")


@dataclass(frozen=True, slots=True)
class Rollout:
    """The state: one active generation, perhaps a staged one, perhaps the one before."""

    active: Generation
    previous: Generation | None = None
    staged: Generation | None = None

    def after(self, step: Step, candidate: Generation | None = None) -> "Rollout":
        """The state after a step.

        Args:
            step: The change.
            candidate: The generation to stage; only for ``STAGE``.

        Raises:
            IllegalStep: not allowed now.
        """
        base = self.active.base
        match step:
            case Step.STAGE if candidate is not None and self.staged is None and candidate != self.active:
                return replace(self, staged=candidate)
            case Step.ACTIVATE if self.staged is not None:
                return Rollout(active=self.staged, previous=self.active)
            case Step.DISCARD if self.staged is not None:
                return replace(self, staged=None)
            case Step.ROLL_BACK if self.active != base:
                target = self.previous if self.previous not in (None, self.active) else base
                return Rollout(active=target or base)
            case Step.TO_BASE if self.active != base:
                return Rollout(active=base, previous=self.active)
        raise IllegalStep(step, self)
