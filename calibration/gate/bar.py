"""What a candidate of a classifier has to reach to be used. Pure: figures in, yes or no out."""

from dataclasses import dataclass

Scores = dict[str, float]
"""The figures of one candidate, by name."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a candidate has to reach on these frames."""

    needs: str
    """The score that must be large enough: the evidence, or the gain of fidelity alone."""
    least: float
    standard_errors: float
    """Of the fidelity's gain."""
    least_agreement_gain: float
    notes: tuple[str, ...] = ()
    least_agreement: float = 0.0
    """What one answer for all frames may reach."""
    small_errors: float | None = None
    """By how many of its errors the fidelity must have grown where the evidence is small; None: it never may be."""
    small_gain: float = 0.0
    """And by how much."""

    def is_cleared_by(self, found: Scores, before: Scores) -> bool:
        """Whether a candidate is good enough."""
        is_sure = found["gain"] >= self.standard_errors * found["gain_error"]
        is_right = found["agreement"] - before["agreement"] >= self.least_agreement_gain
        is_right = is_right and found["agreement"] > self.least_agreement
        return is_right and (self._is_small_but_sure(found) or (is_sure and found[self.needs] >= self.least))

    def _is_small_but_sure(self, found: Scores) -> bool:
        if self.small_errors is None:
            return False
        do_live_frames_agree = found["growth"] >= 0
        least = max(self.small_gain, self.small_errors * found["gain_error"])
        return do_live_frames_agree and found["gain"] >= least

    def __str__(self) -> str:
        what = "evidence" if self.needs == "evidence" else "fidelity"
        text = f"{what} {self.least:+g}; fidelity {self.standard_errors:g} times its error above 0"
        if self.small_errors is not None:
            text += (
                f" (or {self.small_errors:g} times, {self.small_gain:+g} at least, and live answers no worse)"
            )
        text += f"; more than {self.least_agreement:.0%} like the healthy ones"
        least = self.least_agreement_gain
        return f"{text}, {least:.0%} more than without a patch" if least > -1 else text
