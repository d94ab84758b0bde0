"""What an event says to a person: the same words in the log, on the status page and in the summary.

Pure: facts in, text out.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def is_trouble(kind: str, data: Mapping[str, Any]) -> bool:
    """Whether somebody should look: drift, a refused edit, a task that failed."""
    return "error" in data or kind == "drift" or (kind == "config" and not data.get("accepted"))


def words_of(kind: str, data: Mapping[str, Any]) -> list[str]:
    """A headline, then lines of detail."""
    try:
        return _words(kind, data)
    except (KeyError, TypeError, ValueError):  # no event must be lost for want of words
        return [_plain(kind, data)]


def _plain(kind: str, data: Mapping[str, Any]) -> str:
    return ": ".join([kind, *([", ".join(f"{key} {value}" for key, value in data.items())] if data else [])])


def _words(kind: str, data: Mapping[str, Any]) -> list[str]:
    match kind:
        case _ if "error" in data:
            again = "not tried again until the model or the configuration changes, or on command"
            return [f"{kind} failed: {data['error']}", *([again] if data.get("is_lasting") else [])]
        case "config" if data["accepted"]:
            return _of_edit(data["changed"], data["after_restart"])
        case "config":
            return ["configuration edit refused, the last good one stays", *data["problems"]]
        case "commissioned":
            return [
                f"baseline {data['name']} recorded from {data['frames']} healthy frames ({data['taps']} taps)"
            ]
        case "baseline" if "from" in data:
            return [f"the camera is nearer to the baseline {data['to']} now than to {data['from']}: no drift"]
        case "baseline":
            return [f"baseline: {data.get('no_patch') or data.get('reason')}"]
        case "drift":
            return [
                f"drift alarm: score {data['score']:.3g}, threshold {data['threshold']:.3g} ({data['verdict']})"
            ]
        case "recalibration" if data["accepted"]:
            headline = f"recalibrated in {data['seconds']:.1f} s: {data['candidate']}; active is {data['generation']}"
            return [headline, *data["reasons"]]
        case "recalibration":
            return [f"recalibration refused after {data['seconds']:.1f} s, nothing changed", *data["reasons"]]
        case "rollback":
            return [f"rolled back from {data['from']} to {data['to']}: {data['reason']}"]
        case _:
            return [_plain(kind, data)]


def _of_edit(changed: Sequence[str], waiting: Sequence[str]) -> list[str]:
    now = [path for path in changed if path not in waiting]
    lines = [f"configuration edit applied: {', '.join(now)}"] if now else []
    lines += [f"configuration edit that waits for a restart: {', '.join(waiting)}"] if waiting else []
    return lines or ["the configuration is again what is in force"]
