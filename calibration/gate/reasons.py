"""The gates' decisions in sentences: first what was decided, in everyday words, then the figures.

Pure text; no rule is here.
"""

from collections.abc import Mapping
from math import floor

Scores = Mapping[str, float]

BETTER = "With this correction the model answers better on what is seen now."
NOT_SURE = "Nothing is changed: no correction is surely better than none."


def accepted(figures: str) -> str:
    """A yes with its figures."""
    return f"{BETTER} {figures}."


def unsure(figures: str, needed: str) -> str:
    """A no with its figures and with what would have been enough."""
    return f"{NOT_SURE} {figures}. Needed: {needed}."


def unproven(figures: str, max_p_value: float) -> str:
    """What labels alone did not prove; the healthy samples may still prove it."""
    return (
        f"The labels alone prove no correction better. {figures}; p = {max_p_value:g} at most would prove it."
    )


def one_class_scene(live: float) -> str:
    """A no because the live frames show ``live`` effective classes."""
    return (
        f"The live frames show about {_down(live)} classes: on a one-class scene a patch that always gave one answer "
        "would look right. Without labels nothing is changed."
    )


def few_healthy_classes(healthy: float, least: float) -> str:
    """A no because the healthy frames show ``healthy`` effective classes, fewer than ``least``."""
    return (
        f"The healthy frames of the baseline show about {_down(healthy)} classes; at least {least:g} are needed, or a "
        "patch that always gave one answer would look right. Without labels nothing is changed."
    )


def _down(classes: float) -> str:
    """Rounded down: what is below a limit must not read as the limit."""
    return f"{floor(classes * 100) / 100:g}"


def best_of(name: str, judged: int, tried: int | None) -> str:
    """Which candidate, out of how many: ``judged`` met all frames, of ``tried`` (None: that is all that is known)."""
    if tried is None or tried <= judged:
        return f"The best of {judged} candidates, {name}"
    return f"{tried} candidates were tried, {judged} of them on all frames; the best, {name}"


def by_samples(best: str, found: Scores, before: Scores, samples: int) -> str:
    """What the ``best`` candidate (see ``best_of``) of a classifier did, by the simulated and the live frames."""
    return (
        f"{best}: of {samples} healthy frames, made to look like today's, it "
        f"answers {found['agreement']:.0%} as the healthy model did, the unpatched model {before['agreement']:.0%} "
        f"(fidelity {found['gain']:+.3f} +- {found['gain_error']:.3f}); confidence and variety, the nuclear norm of "
        f"the live answers, {before['nuclear_norm']:.3f} -> {found['nuclear_norm']:.3f}; "
        f"evidence {found['evidence']:+.3f}"
    )


def by_live_frames(name: str, after: float, before: float, gain: float, rivals: int) -> str:
    """The same by the live frames alone: ``after`` and ``before`` are nuclear norms."""
    return (
        f"Without healthy samples only the live frames count: the best of {rivals} conservative candidates, "
        f"{name}, "
        f"has the nuclear norm {after:.3f} against {before:.3f} without a patch ({gain:+.1%})"
    )


def by_labels(name: str, found: Scores, before: float, rivals: int, labels: int) -> str:
    """The same by labels; ``before`` is the unpatched model's share of right answers."""
    return (
        f"With {labels} labels the best of {rivals} candidates, {name}, is right on {found['accuracy']:.1%}, the "
        f"unpatched model on {before:.1%} (p = {found['p_value']:.3f})"
    )


def by_values(best: str, found: Scores, before: Scores, samples: int) -> str:
    """What the ``best`` candidate (see ``best_of``) of a model that answers numbers did."""
    others = ""
    if "resampled_error" in found:
        others = (
            f"; where other samples had told the drift the error is {before['resampled_error']:.2f} -> "
            f"{found['resampled_error']:.2f}"
        )
    return (
        f"{best}: on {samples} healthy samples, made to look like today's, its squared error against the healthy "
        f"answers is {-found['fidelity']:.3f} of their variance, the unpatched model's {-before['fidelity']:.3f} "
        f"(gain {found['gain']:+.3f} +- {found['gain_error']:.3f}); live answers lie {before['live_outside']:.1f} -> "
        f"{found['live_outside']:.1f} spreads outside of the healthy range{others}"
    )


def by_detections(best: str, found: Scores, before: Scores, frames: int) -> str:
    """What the ``best`` candidate (see ``best_of``) of a detector did."""
    return (
        f"{best}: in {frames} healthy frames, made to look like today's, it "
        f"finds what the healthy model did with a soft F1 of {found['fidelity']:.3f}, the unpatched model "
        f"{before['fidelity']:.3f} ({found['gain']:+.3f} +- {found['gain_error']:.3f}); objects per live frame "
        f"{before['live_objects']:.1f} -> {found['live_objects']:.1f}, healthy {before['healthy_objects']:.1f}"
    )
