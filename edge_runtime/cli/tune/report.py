"""A tuning as lines for a person and as JSON. Pure."""

from typing import Any

from edge_runtime.cli.tune.engine_choices import EngineChoice, TuneTask
from edge_runtime.cli.tune.session import Goal, Trial, Tuned, find_quartiles

_COLUMNS = f"  {'':44}{'answer ms':>20}{'frames/s':>22}{'CPU ms':>9}"


def list_edits(chosen: EngineChoice, in_use: EngineChoice) -> dict[str, Any]:
    """The keys to write below the model in the configuration; empty when the setting in use stays."""
    edits: dict[str, Any] = {}
    if chosen.threads != in_use.threads:
        edits["threads"] = chosen.threads
    if chosen.runtime != in_use.runtime:
        edits["engine.runtime"] = chosen.runtime
        if chosen.settings.devices != in_use.settings.devices:
            edits["engine.devices"] = list(chosen.settings.devices)
    return edits


def describe_as_json(task: TuneTask, goal: Goal, tuned: Tuned) -> dict[str, Any]:
    """All figures."""
    in_use = tuned.tried[0].candidate
    return {
        "bundle": task.bundle.id,
        "model": task.model,
        "streams": task.streams,
        "for": goal,
        "seconds": round(tuned.took_s, 1),
        "candidates": [_candidate(one) for one in tuned.tried],
        "chosen": {"runtime": tuned.chosen.runtime, "threads": tuned.chosen.threads},
        "is_change": tuned.chosen != in_use,
        "why": tuned.why,
        "edits": list_edits(tuned.chosen, in_use),
    }


def describe_as_lines(task: TuneTask, goal: Goal, tuned: Tuned) -> list[str]:
    """A table with medians and the middle half of the rounds, and what follows from it."""
    plan = tuned.tried[0].candidate.plan
    lines = [
        f"{task.bundle.id}, {task.streams} stream(s), for {goal}; {plan.why.rsplit('; ', 1)[-1]}",
        _COLUMNS,
    ]
    order = sorted(tuned.tried, key=lambda one: (not one.is_finalist, not one.rounds))
    lines += [_line(one, tuned) for one in order]
    edits = list_edits(tuned.chosen, tuned.tried[0].candidate)
    lines.append(("best: " if edits else "no change: ") + tuned.why)
    lines += [f"  {key}: {value}" for key, value in edits.items()]
    return lines


def _line(one: Trial, tuned: Tuned) -> str:
    mark = "*" if one.candidate == tuned.chosen else " "
    name = f"{one.candidate}{', in use' if one is tuned.tried[0] else ''}"
    if not one.rounds:
        return f"{mark} {name:44}  {one.problem}"
    answer, rate = _range(one, "answer_ms", 2), _range(one, "frames_per_s", 1)
    _, cpu_ms, _ = _quartiles(one, "cpu_ms")
    note = "" if one.is_finalist else "  (one round)"
    return f"{mark} {name:44}{answer:>20}{rate:>22}{cpu_ms:9.1f}{note}"


def _range(one: Trial, figure: str, digits: int) -> str:
    low, median, high = _quartiles(one, figure)
    middle = f" ({low:.{digits}f}-{high:.{digits}f})" if len(one.rounds) > 1 else ""
    return f"{median:.{digits}f}{middle}"


def _quartiles(one: Trial, figure: str) -> list[float]:
    return find_quartiles([getattr(found, figure) for found in one.rounds])


def _candidate(one: Trial) -> dict[str, Any]:
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
        low, median, high = (round(value, 3) for value in _quartiles(one, name))
        facts[name] = {"median": median, "quartiles": [low, high]}
    return facts
