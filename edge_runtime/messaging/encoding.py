"""Results and events as JSON bytes. Pure.

Times are RFC 3339 in UTC; floats are rounded to their precision.
"""

from base64 import b64encode
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from edge_runtime.datatypes import (
    Detection,
    Generation,
    Label,
    Origin,
    Rejected,
    Result,
    Timings,
    result_id,
)
from edge_runtime.messaging import events
from edge_runtime.messaging.events import Event, Fact, RecalibrationReport
from edge_runtime.system.rfc3339 import format_rfc3339

SCORE_DIGITS = 4
BOX_DIGITS = 1
MS_DIGITS = 2
MAX_DETAIL_CHARS = 500
_WIRE_NAMES = {"before": "from", "after": "to"}
_TIMINGS = tuple(field.name for field in fields(Timings))


def encode_result(result: Result) -> bytes:
    """One result as a JSON object on one line.

    Raises:
        ValueError: not exactly one of ``top``, ``detections`` and ``outputs`` is set, or an output has a dtype that
            JSON cannot carry (complex, object); both are mistakes of the program, not of the picture.
    """
    answers: dict[str, Any] = {}
    if result.top is not None:
        answers["top"] = [_encode_label(label) for label in result.top]
    if result.detections is not None:
        answers["detections"] = [_encode_detection(found) for found in result.detections]
    if result.outputs is not None:
        answers["outputs"] = {name: _encode_array(name, values) for name, values in result.outputs.items()}
    if len(answers) != 1:
        raise ValueError(
            f"result {result.id}: exactly one of top, detections, outputs must be set, got {sorted(answers)}"
        )
    return encode_object(
        {
            "id": result.id,
            "stream": result.stream,
            "seq": result.seq,
            "captured_at": format_rfc3339(result.captured_at_wall_s),
            "model": result.model,
            "generation": result.generation,
            **({} if result.arm is None else {"arm": result.arm}),
            **answers,
            "timings_ms": {name: round(float(getattr(result.timings, name)), MS_DIGITS) for name in _TIMINGS},
            **_encode_origin(result.origin),
        }
    )


def encode_rejection(rejected: Rejected, device: str, model: str, unsaid: int = 0) -> bytes:
    """One frame without a result as a JSON object on one line.

    Args:
        rejected: Which frame, and why.
        device: Name of the device.
        model: The model that was to answer.
        unsaid: Rejections of the stream that were counted and not published since its last one.
    """
    at_wall_s = rejected.captured_at_wall_s
    return encode_object(
        {
            "id": result_id(device, rejected.stream, rejected.seq),
            "stream": rejected.stream,
            "seq": rejected.seq,
            "captured_at": None if at_wall_s is None else format_rfc3339(at_wall_s),
            "model": model,
            "rejected": str(rejected.reason),
            "detail": rejected.detail[:MAX_DETAIL_CHARS],
            **({"unsaid": unsaid} if unsaid else {}),
            **_encode_origin(rejected.origin),
        }
    )


def _encode_origin(origin: Origin | None) -> dict[str, Any]:
    """``input``: what the sender of the frame calls it; without the key when nothing is known."""
    if origin is None:
        return {}
    about: dict[str, Any] = {}
    if origin.name is not None:
        about["name"] = _as_text(origin.name)
    for name, at_wall_s in (
        ("modified_at", origin.modified_at_wall_s),
        ("captured_at", origin.captured_at_wall_s),
    ):
        if at_wall_s is not None:
            about[name] = format_rfc3339(at_wall_s)
    if origin.correlation is not None:
        about |= _encode_correlation(origin.correlation)
    if origin.content_type is not None:
        about["content_type"] = _as_text(origin.content_type)
    if origin.properties:
        about["properties"] = _encode_properties(origin.properties)
    if origin.left_out:
        about["left_out"] = list(origin.left_out)
    return {"input": about}


def _encode_correlation(correlation: bytes) -> dict[str, str]:
    """As text where it is text; any other bytes as Base64 under another name."""
    try:
        text = correlation.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        return {"correlation": text}
    return {"correlation_base64": b64encode(correlation).decode()}


def _encode_properties(properties: tuple[tuple[str, str], ...]) -> dict[str, str | list[str]]:
    """By name; the values of a name that came several times as a list."""
    values: dict[str, list[str]] = {}
    for name, value in properties:
        values.setdefault(_as_text(name), []).append(_as_text(value))
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _as_text(text: str) -> str:
    r"""Text that JSON can carry: bytes of a file name that are no UTF-8 are shown as ``\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def encode_event(event: Event, device: str) -> bytes:
    """One event as a JSON object on one line: ``{"event": kind, "device": …, "at": …, "data": {…}}``."""
    return encode_object(_message(event, device, event.fact.kind, _fact(event.fact)))


def encode_deprecated_event(event: Event, device: str) -> bytes | None:
    """A failed task under its old name, for one release; None for other events, whose names did not change."""
    if not isinstance(event.fact, events.TaskFailed):
        return None
    data = _fact(event.fact)
    del data["outcome"]
    return encode_object({**_message(event, device, event.fact.task, data), "deprecated": True})


def _message(event: Event, device: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    about = {} if event.model is None else {"model": event.model}
    return {"event": kind, "device": device, "at": format_rfc3339(event.at_wall_s), "data": {**about, **data}}


def _fact(fact: Fact) -> dict[str, Any]:
    """The fields as ``docs/events.md`` lists them."""
    match fact:
        case events.ConfigApplied():
            return {"accepted": True, **_values(fact)}
        case events.ConfigRefused() | events.ConfigUndone():
            return {"accepted": False, **_values(fact)}
        case events.DeliveryTrouble():
            return {"outcome": "trouble", **_values(fact)}
        case events.DeliveryRecovered():
            return {"outcome": "recovered", **_values(fact)}
        case events.Commissioned():
            return {"outcome": "recorded", **_values(fact)}
        case events.TaskFailed():
            data = {"outcome": "failed", **_values(fact)}
            del data["task"]
            return _without_false(data, "dry_run")
        case events.PatchesPaused(reason):
            return {"no_patch": reason}
        case events.DriftAlarm(figures):
            return _values(figures)
        case events.Recalibrated(report, generation):
            return {"outcome": "accepted", **as_json(report), "generation": str(generation)}
        case events.PatchProposed(report, patch):
            return {"outcome": "proposed", **as_json(report), "waits": patch}
        case events.PatchObserved(report):
            return {"outcome": "observed", **as_json(report)}
        case events.DryRunEnded(report):
            return {"outcome": "dry_run", **as_json(report)}
        case events.ProposalEnded() | events.PatchTried():
            return _without_none(_values(fact), "generation", "report")
        case events.RecalibrationRefused(report):
            return {"outcome": "refused", **as_json(report)}
        case (
            events.HealthChanged()
            | events.BaselineChanged()
            | events.PatchResumed()
            | events.RolledBack()
            | events.VersionSkipped()
            | events.VersionMended()
            | events.StateDamaged()
        ):
            return _values(fact)
        case events.RolloutMoved():
            return _without_none(_values(fact), "report")


def _without_none(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Without those of these fields that say nothing."""
    return {key: value for key, value in data.items() if value is not None or key not in keys}


def _without_false(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Without those of these flags that are not set."""
    return {key: value for key, value in data.items() if value or key not in keys}


def _values(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by the names that subscribers know."""
    data = {}
    for field in fields(value):
        one = getattr(value, field.name)
        data[_WIRE_NAMES.get(field.name, field.name)] = str(one) if isinstance(one, Generation) else one
    return data


def as_json(report: RecalibrationReport) -> dict[str, Any]:
    """The report's fields; ``report`` only where there is a page, ``is_known`` and ``dry_run`` only where true."""
    data = asdict(report) | {"frames": report.frames.to_json()}
    return _without_false(_without_none(data, "report"), "is_known", "dry_run")


def encode_object(values: object) -> bytes:
    """A dictionary or a dataclass as one line: numpy values, paths and sets included; NaN becomes null."""
    return orjson.dumps(values, default=_convert, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _encode_label(found: Label | Detection) -> dict[str, Any]:
    return {"index": found.index, "label": found.label, "score": round(float(found.score), SCORE_DIGITS)}


def _encode_detection(found: Detection) -> dict[str, Any]:
    return {**_encode_label(found), "box": [round(float(edge), BOX_DIGITS) for edge in found.box]}


def _encode_array(name: str, values: NDArray[Any]) -> dict[str, Any]:
    """A raw output with its shape and dtype; non-finite numbers become null."""
    if values.dtype.kind not in "fiub":
        raise ValueError(f"output {name!r} has dtype {values.dtype}; JSON carries float, int and bool arrays")
    wide = values.dtype.kind == "f" and values.dtype.itemsize > 8  # longdouble: more than JSON readers keep
    native = values.astype(np.float64 if wide else values.dtype.newbyteorder("="), copy=False)
    return {
        "shape": list(values.shape),
        "dtype": str(native.dtype),
        "data": np.ascontiguousarray(native).ravel(),
    }


def _convert(value: object) -> object:
    """A value that orjson does not know: arrays as lists, sets in order, anything else as text."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.longdouble):
        return float(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)
