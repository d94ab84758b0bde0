"""A tuning in words and figures, for people and machines. Pure; called by the command line."""

from collections.abc import Callable
from typing import Any

from edge_runtime.cli.tune.candidates import Candidate
from edge_runtime.cli.tune.question import Question
from edge_runtime.cli.tune.session import Tried, Tuned
from edge_runtime.cli.tune.timing import Round
from edge_runtime.cli.tune.verdict import Goal, spread

_COLUMNS = f"  {'':44}{'answer ms':>20}{'frames/s':>22}{'CPU ms':>9}"


def edits_of(chosen: Candidate, in_use: Candidate) -> dict[str, Any]:
    """What to write below the model in the configuration; empty when what is in use stays."""
    edits: dict[str, Any] = {}
    if chosen.threads != in_use.threads:
        edits["threads"] = chosen.threads
    if chosen.runtime != in_use.runtime:
        edits["engine.runtime"] = chosen.runtime
        if chosen.settings.devices != in_use.settings.devices:
            edits["engine.devices"] = list(chosen.settings.devices)
    return edits


def as_json(question: Question, goal: Goal, tuned: Tuned) -> dict[str, Any]:
    """Everything that was found."""
    in_use = tuned.tried[0].candidate
    return {
        "bundle": question.bundle.id,
        "model": question.model,
        "streams": question.streams,
        "for": goal,
        "seconds": round(tuned.took_s, 1),
        "candidates": [_candidate(one) for one in tuned.tried],
        "chosen": {"runtime": tuned.chosen.runtime, "threads": tuned.chosen.threads},
        "is_change": tuned.chosen != in_use,
        "why": tuned.verdict.why,
        "edits": edits_of(tuned.chosen, in_use),
    }


def as_lines(question: Question, goal: Goal, tuned: Tuned) -> list[str]:
    """A table with medians and the middle half of the rounds, and what follows from it."""
    plan = tuned.tried[0].candidate.plan
    lines = [
        f"{question.bundle.id}, {question.streams} stream(s), for {goal}; {plan.why.rsplit('; ', 1)[-1]}",
        _COLUMNS,
    ]
    order = sorted(tuned.tried, key=lambda one: (not one.is_finalist, not one.rounds))
    lines += [_line(one, tuned) for one in order]
    edits = edits_of(tuned.chosen, tuned.tried[0].candidate)
    lines.append(("best: " if edits else "no change: ") + tuned.verdict.why)
    lines += [f"  {key}: {value}" for key, value in edits.items()]
    return lines


def _line(one: Tried, tuned: Tuned) -> str:
    mark = "*" if one.candidate == tuned.chosen else " "
    name = f"{one.candidate}{', in use' if one is tuned.tried[0] else ''}"
    if not one.rounds:
        return f"{mark} {name:44}  {one.problem}"
    answer = _range(one.rounds, lambda it: it.answer_ms, 2)
    rate = _range(one.rounds, lambda it: it.frames_per_s, 1)
    cpu = spread([it.cpu_ms for it in one.rounds]).median
    note = "" if one.is_finalist else "  (one round)"
    return f"{mark} {name:44}{answer:>20}{rate:>22}{cpu:9.1f}{note}"


def _range(rounds: tuple[Round, ...], value: Callable[[Round], float], digits: int) -> str:
    found = spread([value(one) for one in rounds])
    middle = f" ({found.low:.{digits}f}-{found.high:.{digits}f})" if len(rounds) > 1 else ""
    return f"{found.median:.{digits}f}{middle}"


def _candidate(one: Tried) -> dict[str, Any]:
    plan = one.candidate.plan
    facts: dict[str, Any] = {
        "runtime": one.candidate.runtime,
        "threads": one.candidate.threads,
        "intra": plan.intra,
        "workers": plan.workers,
        "is_finalist": one.is_finalist,
        "rounds": len(one.rounds),
        "problem": one.problem,
    }
    for name in ("answer_ms", "frames_per_s", "cpu_ms") if one.rounds else ():
        found = spread([float(getattr(it, name)) for it in one.rounds])
        facts[name] = {
            "median": round(found.median, 3),
            "quartiles": [round(found.low, 3), round(found.high, 3)],
        }
    return facts
