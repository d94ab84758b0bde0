"""Two arms side by side, as rows of text for a page. Pure."""

from typing import Any

from edge_runtime.deployment.rollout_policy.figures import CONFIDENT, ArmSummary

_SHOWN_LABELS = 12
_LONGEST_LABEL = 80


def figure_rows(active: ArmSummary, candidate: ArmSummary) -> list[tuple[str, str, str]]:
    """Title and both figures; without those that neither has."""

    def row(title: str, form: str, first: float | None, second: float | None) -> tuple[str, str, str]:
        return title, _fill(form, first), _fill(form, second)

    ours, theirs = candidate, active
    rows = [
        row("Frames", "{:,}", theirs.frames, ours.frames),
        row("Without an answer", "{:,}", theirs.failures, ours.failures),
        row("Latency, median", "{:.1f} ms", theirs.latency_p50_ms, ours.latency_p50_ms),
        row("Latency, 99th percentile", "{:.1f} ms", theirs.latency_p99_ms, ours.latency_p99_ms),
        row("Mean confidence", "{:.3f}", theirs.confidence, ours.confidence),
        row(
            f"Confident answers (from {CONFIDENT:g})", "{:.1%}", theirs.confident_share, ours.confident_share
        ),
        row(
            "Answers with another label than the one before",
            "{:.1%}",
            theirs.switching_rate,
            ours.switching_rate,
        ),
        row("Variety of labels (1: all alike often)", "{:.2f}", theirs.label_entropy, ours.label_entropy),
    ]
    if ours.agreement is not None:
        agreed = f"{ours.agreement:.3f} on {ours.agreements:,} frames"
        rows.insert(2, ("Agreement on the same frames", "", agreed))
    return [one for one in rows if one[1:] != ("–", "–")]


def _fill(form: str, value: float | None) -> str:
    return "–" if value is None else form.format(value)


def label_rows(active: ArmSummary, candidate: ArmSummary) -> list[dict[str, Any]]:
    """Shares of both arms, the most frequent first; a label beyond an arm's list has no figure there."""
    shares = [{label: count / arm.labelled for label, count in arm.labels} for arm in (active, candidate)]
    largest = max((share for one in shares for share in one.values()), default=1.0)
    names = sorted({*shares[0], *shares[1]}, key=lambda name: -max(one.get(name, 0.0) for one in shares))
    return [
        {
            "label": name if len(name) <= _LONGEST_LABEL else f"{name[:_LONGEST_LABEL]}…",
            "cells": [
                {
                    "text": "–" if name not in one else f"{one[name]:.1%}",
                    "width": round(100 * one.get(name, 0.0) / largest, 1),
                }
                for one in shares
            ],
        }
        for name in names[:_SHOWN_LABELS]
    ]
