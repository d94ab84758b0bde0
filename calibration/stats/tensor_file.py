"""One file of named arrays with a JSON header: how baselines and patches lie on disk (safetensors, no pickle).

Reading checks sizes before anything is allocated and says what is wrong. The arrays' meaning is not known here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from calibration.stats.json_values import count_values
from calibration.stats.regular_file import read_whole

Arrays = dict[str, NDArray[Any]]

LARGEST_FILE_BYTES = 512 * 2**20
"""A baseline with the samples of a large detector stays far below; anything above is not ours."""

MOST_HEADER_VALUES = 500_000
"""Of names, shapes and places of the arrays and what is said of them: some 40,000 arrays."""

_HEADER_KEY = "calibration"


class TensorFileProblem(Exception):
    """What is wrong with the bytes; the caller knows whether that makes a bad baseline or a bad patch."""


def encode(kind: str, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> bytes:
    """The file's bytes; the same content gives the same bytes."""
    text = json.dumps({"kind": kind, **header}, sort_keys=True, separators=(",", ":"))
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(save(whole, metadata={_HEADER_KEY: text}))


def decode(kind: str, data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and header out of a file's bytes.

    Raises:
        TensorFileProblem: not safetensors, cut short, of too many arrays, or a file of another kind.
    """
    said = data[8 : 8 + int.from_bytes(data[:8], "little")]
    if count_values(said) > MOST_HEADER_VALUES:
        raise TensorFileProblem(f"not a {kind} file: more than {MOST_HEADER_VALUES} values in its header")
    try:
        arrays = load(data)
        text = json.loads(said)["__metadata__"][_HEADER_KEY]
        header = json.loads(text)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as err:
        raise TensorFileProblem(f"not a {kind} file, or damaged ({err})") from err
    if not isinstance(header, dict) or header.get("kind") != kind:
        found = header.get("kind") if isinstance(header, dict) else header
        raise TensorFileProblem(f"this is a file of kind {found!r}, not {kind!r}")
    return arrays, header


def other_format(found: object, known: int) -> str:
    """What to say of a file whose format is not the known one."""
    is_newer = isinstance(found, int) and found > known
    return f"format {found!r}{', which a newer version wrote: update this one' if is_newer else ''}"


def read(kind: str, path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read and decode one file.

    Raises:
        TensorFileProblem: missing, unreadable, too large, damaged or of another kind.
    """
    try:
        data = read_whole(path, LARGEST_FILE_BYTES)
    except OSError as err:
        raise TensorFileProblem(f"cannot be read ({err.strerror})") from err
    return decode(kind, data)
