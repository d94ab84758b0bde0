"""The candidates: which corrections are tried. Pure.

The unpatched model is not among them; the gate compares every candidate with it. Their depths were measured, see docs;
"first k taps" follows from shallow layers carrying the sensor and deep ones the content.
"""

from dataclasses import dataclass

DEPTHS = (0.02, 0.10, 0.30, 0.60, 1.0)
"""Shares of all taps: 1, 5, 15, 30 and 49 of EfficientNet-Lite0."""
PRIORS = (0.0, 0.6)
"""0.3 between them was never missed."""
DEPTHS_BEHIND_INPUT = (0.30, 1.0)

DEPTHS_BESIDE_DISTILLED = (0.10, 1.0)
PRIORS_BESIDE_DISTILLED = (0.6,)
"""Beside distilled patches, moments correct the input, 5 taps and all taps, of one observer pass; no other depths."""

CONSERVATIVE_SHARE = 0.10
"""Share of the taps that a conservative candidate may correct: 5 of EfficientNet-Lite0's 49."""

INPUT_CORRECTION = "input"
"""Name of the candidate that corrects the input alone; others start from it."""

UNPATCHED = "identity"
"""Name of the choice to correct nothing, in verdicts and reports."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to correct a model."""

    name: str
    input_share: float = 0.0
    """How far the input itself is corrected, 0..1."""
    first_taps: int = 0
    """How many taps, from the input on."""
    prior: float = 0.0
    """Share of the baseline in their moments, 0..1."""

    @property
    def passes(self) -> tuple[float, float]:
        """Which observer pass it needs: (input share, prior). All depths of a pair come from one pass."""
        return self.input_share, self.prior


def candidates(taps: int, most_taps: int | None, *, are_distilled: bool = False) -> tuple[Candidate, ...]:
    """The candidates by moments for a model with so many taps, without doubles; shallow before deep.

    ``most_taps`` limits how many a candidate corrects, None does not; the shares stay those of all taps. Where others
    ``are_distilled``, fewer earn their time.
    """
    most = taps if most_taps is None else min(taps, most_taps)
    alone = DEPTHS_BESIDE_DISTILLED if are_distilled else DEPTHS
    priors = PRIORS_BESIDE_DISTILLED if are_distilled else PRIORS
    found = [Candidate(INPUT_CORRECTION, input_share=1.0)]
    if not are_distilled:
        found.append(Candidate("input half-way", input_share=0.5))
    for first in _depths(taps, alone, most):
        found += [Candidate(f"{_taps(first, taps)}, prior {p:g}", 0.0, first, p) for p in priors]
    for first in () if are_distilled else _depths(taps, DEPTHS_BEHIND_INPUT, most):
        found += [Candidate(f"input + {_taps(first, taps)}, prior {p:g}", 1.0, first, p) for p in PRIORS]
    return tuple(found)


def conservative_taps(taps: int) -> int:
    """How many of the first taps a conservative candidate may correct."""
    return max(1, round(CONSERVATIVE_SHARE * taps))


def _depths(taps: int, shares: tuple[float, ...], most: int) -> list[int]:
    return sorted({min(most, max(1, round(share * taps))) for share in shares}) if taps else []


def _taps(first: int, taps: int) -> str:
    return "all taps" if first == taps else f"first {first} tap{'s' if first > 1 else ''}"
