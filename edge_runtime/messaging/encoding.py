"""Results and events as JSON bytes. Pure.

Times are RFC 3339 in UTC; floats are rounded to their precision.
"""

from base64 import b64encode
from dataclasses import fields
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from edge_runtime.datatypes import (
    Anomaly,
    Detection,
    Label,
    Origin,
    Rejected,
    Result,
    Timings,
    Value,
    result_id,
)
from edge_runtime.inference.answers import AnyAnswer
from edge_runtime.messaging.event_forms import as_data
from edge_runtime.messaging.events import Event, TaskFailed
from edge_runtime.system.plain_text import as_text
from edge_runtime.system.rfc3339 import format_rfc3339

SCORE_DIGITS = 4
VALUE_DIGITS = 6
"""Of values in any unit, significant ones: float32 has seven."""
BOX_DIGITS = 1
MS_DIGITS = 2
MAX_DETAIL_CHARS = 500
_TIMINGS = tuple(field.name for field in fields(Timings))


def encode_result(result: Result) -> bytes:
    """One result as a JSON object on one line.

    Raises:
        ValueError: not exactly one kind of answer is set, or an output has a dtype that JSON cannot carry (complex,
            object); both are mistakes of the program, not of the picture.
    """
    answers = encode_answer(result)
    if len(answers) != 1:
        raise ValueError(
            f"result {result.id}: exactly one of top, detections, values, anomaly, outputs must be set, "
            f"got {sorted(answers)}"
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
            **({} if result.filled is None else {"filled": round(result.filled, SCORE_DIGITS)}),
            "timings_ms": {name: round(float(getattr(result.timings, name)), MS_DIGITS) for name in _TIMINGS},
            **_encode_origin(result.origin),
        }
    )


def encode_answer(answer: AnyAnswer) -> dict[str, Any]:
    """What a model answered, as in a result: mostly one key, by its kind."""
    answers: dict[str, Any] = {}
    if answer.top is not None:
        answers["top"] = [_encode_label(label) for label in answer.top]
    if answer.detections is not None:
        answers["detections"] = [_encode_detection(found) for found in answer.detections]
    if answer.values is not None:
        answers["values"] = [_encode_value(one) for one in answer.values]
    if answer.anomaly is not None:
        answers["anomaly"] = _encode_anomaly(answer.anomaly)
    if answer.outputs is not None:
        answers["outputs"] = {name: encode_array(name, values) for name, values in answer.outputs.items()}
    return answers


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
        about["name"] = as_text(origin.name)
    for name, at_wall_s in (
        ("modified_at", origin.modified_at_wall_s),
        ("captured_at", origin.captured_at_wall_s),
    ):
        if at_wall_s is not None:
            about[name] = format_rfc3339(at_wall_s)
    if origin.correlation is not None:
        about |= _encode_correlation(origin.correlation)
    if origin.content_type is not None:
        about["content_type"] = as_text(origin.content_type)
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
        values.setdefault(as_text(name), []).append(as_text(value))
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def encode_event(event: Event, device: str) -> bytes:
    """One event as a JSON object on one line: ``{"event": kind, "device": …, "at": …, "data": {…}}``."""
    return encode_object(_message(event, device, event.fact.kind, as_data(event.fact)))


def encode_deprecated_event(event: Event, device: str) -> bytes | None:
    """A failed task under its old name, for one release; None for other events, whose names did not change."""
    if not isinstance(event.fact, TaskFailed):
        return None
    data = as_data(event.fact)
    del data["outcome"]
    return encode_object({**_message(event, device, event.fact.task, data), "deprecated": True})


def _message(event: Event, device: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    about = {} if event.model is None else {"model": event.model}
    return {"event": kind, "device": device, "at": format_rfc3339(event.at_wall_s), "data": {**about, **data}}


def encode_object(values: object) -> bytes:
    """A dictionary or a dataclass as one line: numpy values, paths and sets included; NaN becomes null."""
    return orjson.dumps(values, default=_convert, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _encode_label(found: Label | Detection) -> dict[str, Any]:
    return {"index": found.index, "label": found.label, "score": round(float(found.score), SCORE_DIGITS)}


def _encode_detection(found: Detection) -> dict[str, Any]:
    return {**_encode_label(found), "box": [round(float(edge), BOX_DIGITS) for edge in found.box]}


def _encode_value(found: Value) -> dict[str, Any]:
    value = shorten(found.value)
    return {"name": found.name, "value": value, "unit": found.unit, "limits": found.limits}


def _encode_anomaly(found: Anomaly) -> dict[str, Any]:
    threshold = None if found.threshold is None else shorten(found.threshold)
    return {"score": shorten(found.score), "threshold": threshold, "is_anomalous": found.is_anomalous}


def shorten(value: float) -> float:
    """With ``VALUE_DIGITS`` significant digits."""
    return float(f"{value:.{VALUE_DIGITS}g}")


def encode_array(name: str, values: NDArray[Any]) -> dict[str, Any]:
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
