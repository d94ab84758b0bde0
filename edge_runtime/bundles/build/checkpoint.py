"""Checkpoints as they are in use: their keys, their versions, and what wrappers put in front of the names of weights.

Pure.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SURE, LIKELY = ("state_dict", "model_state_dict"), ("model", "net")
"""Keys of the weights: Lightning and most others, torch's own tutorial; detectors, if they are all tensors."""
PREPROCESSING = ("preprocessing", "preprocess_params", "preprocess")
_WRAPPERS = {"module", "_orig_mod"}
"""What DistributedDataParallel and AveragedModel, and torch.compile, put into names; anywhere, if they wrap a part."""
_BOOKKEEPING = {"n_averaged"}
"""Of AveragedModel; no weight."""
_DOTTED = re.compile(r"v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?")
_MOST = 999_999_999


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is in the file."""

    weights: Mapping[str, Any]
    preprocessing: Any = None
    """With the keys of a bundle's ``preprocess``, unchecked; None where the file does not say it."""
    version: Any = None


def find_parts(data: Any, is_tensor: type) -> Checkpoint | None:
    """The parts of what torch.load gave; None if there are no weights in it. A bare state dict has nothing else."""
    if not isinstance(data, Mapping):
        return None
    named = next((data[key] for key in SURE if isinstance(data.get(key), Mapping)), None)
    if named is None:
        named = next((data[key] for key in LIKELY if _are_weights(data.get(key), is_tensor)), None)
    if named is None:
        return Checkpoint(data) if _are_weights(data, is_tensor) else None
    preprocessing = next((data[key] for key in PREPROCESSING if data.get(key) is not None), None)
    return Checkpoint(named, preprocessing, data.get("version"))


def _are_weights(value: Any, is_tensor: type) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(one, is_tensor) for one in value.values())
    )


def match_names(weights: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    """The weights under the names that the net has, without the prefixes of wrappers if that makes every name fit.

    Otherwise as they are.
    """
    for renamed in _readings(weights):
        if renamed.keys() == wanted:
            return renamed
    return dict(weights)


def find_prefix(weights: Mapping[str, Any], wanted: set[str]) -> str | None:
    """A prefix without which most of the names fit, for a message."""
    best, count = None, len(wanted) // 2
    for prefix in dict.fromkeys(name.split(".")[0] + "." for name in weights):
        fitting = sum(name.startswith(prefix) and name.removeprefix(prefix) in wanted for name in weights)
        if fitting > count:
            best, count = prefix, fitting
    return best


def _readings(weights: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    plain = {name: one for name, one in weights.items() if name not in _BOOKKEEPING}
    yield dict(weights)
    for start in (plain, _without_wrappers(plain)):
        names = [name.split(".") for name in start]
        shared = 0
        while names and all(len(parts) > shared + 1 and parts[shared] == names[0][shared] for parts in names):
            shared += 1
        for count in range(shared + 1):
            yield {".".join(name.split(".")[count:]): one for name, one in start.items()}


def _without_wrappers(weights: Mapping[str, Any]) -> dict[str, Any]:
    return {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): one
        for name, one in weights.items()
    }


def read_version(version: Any) -> int | None:
    """A bundle's version: a whole number, or 1.0.2 as 1000002, so that later ones are higher; None if it is neither."""
    text = str(version).strip()
    if text.isdecimal() and text.isascii():
        number = int(text[:10])
    elif dotted := _DOTTED.fullmatch(text):
        major, minor, patch = (int(part or 0) for part in dotted.groups())
        number = (major * 1000 + minor) * 1000 + patch
    else:
        return None
    return number if 1 <= number <= _MOST else None
