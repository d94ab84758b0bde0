"""An author's ONNX file -> one file with its weights inside, in an operator set that can be quantized and recalibrated.

Torch's exporter writes weights to a second file by default. A bundle has no such files, because they are a way to read
foreign ones (onnx had five CVEs there), and onnx's own loading is not used for the same reason. A weights file must be
a plain file in the folder of the model: no link, no path. Every tensor must have exactly the bytes of its shape, and
all together at most as many as a bundle may hold.

Old exporters list every weight among the inputs, as values that a caller may change. No caller does, and quantizers
and observers would wait for them. Imports onnx; workstation only.
"""

import math
import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from edge_runtime.bundles.build.refusals import shorten
from edge_runtime.bundles.verify import MAX_FILE_BYTES
from edge_runtime.errors import BundleError

LEAST_OPSET = 13
"""DequantizeLinear has an axis from here on."""
_TARGET = 17
_LEAST_IR = 4  # from here on weights need not be inputs
_FIX = "Save the model with its weights inside (onnx.save without external data)."
_BITS = 8
_MOST_DEPTH = 12


def embed_weights(path: Path, model: bytes) -> bytes:
    """The same model with all weights inside; ``path`` is where its file lies.

    Raises:
        BundleError: the weights are not plain files in its folder, not as large as they should be, or too large.
    """
    import onnx
    from google.protobuf.message import DecodeError, EncodeError

    try:
        loaded = onnx.load_model_from_string(model)
    except DecodeError as err:
        raise BundleError(path, "not an ONNX file", "an ONNX model", "Export it again.") from err
    inside = (_of_nodes(function.node, 0) for function in loaded.functions)
    tensors = chain(_of_graph(loaded.graph, 0), *inside)
    outside = [tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL]
    total = len(model) + sum(_size(path, tensor) for tensor in outside)
    if total > MAX_FILE_BYTES:
        found = f"{total} bytes with its weights"
        raise BundleError(path, found, f"at most {MAX_FILE_BYTES}", "Make the model smaller.")
    for tensor in outside:
        tensor.raw_data = _read(path, tensor)
        del tensor.external_data[:]
        tensor.ClearField("data_location")
    try:
        return bytes(loaded.SerializeToString())
    except (EncodeError, ValueError) as err:
        fix = "Make the model smaller."
        raise BundleError(path, "too large for one file", "less than 2 GB", fix) from err


def _of_graph(graph: Any, depth: int) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node, depth)


def _of_nodes(nodes: Any, depth: int) -> Iterator[Any]:
    if depth > _MOST_DEPTH:
        return  # check_model refuses what is nested so deeply
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from _of_graph(graph, depth + 1)


def _size(path: Path, tensor: Any) -> int:
    """Bytes that the shape and type of a tensor say."""
    from onnx import TensorProto, helper

    four_bits = {getattr(TensorProto, name, None) for name in ("INT4", "UINT4", "FLOAT4E2M1")}
    try:
        kind = tensor.data_type
        width = 4 if kind in four_bits else _BITS * helper.tensor_dtype_to_np_dtype(kind).itemsize
    except (KeyError, TypeError) as err:
        found = f"tensor {tensor.name} of type {tensor.data_type} in another file"
        raise BundleError(path, found, "numbers", _FIX) from err
    if any(size < 0 for size in tensor.dims):
        raise BundleError(path, f"tensor {tensor.name} of shape {list(tensor.dims)}", "sizes from 0", _FIX)
    return int(math.prod(tensor.dims) * width + _BITS - 1) // _BITS


def _read(path: Path, tensor: Any) -> bytes:
    """The bytes of one tensor from the file that it names."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    name, size = facts.get("location", ""), _size(path, tensor)
    if not name or name != Path(name).name or name in (".", "..") or "\\" in name or "\0" in name:
        raise BundleError(path, f"weights in {name!r}", "a file in the folder of the model", _FIX)
    at = path.parent / name
    try:
        offset, length = int(facts.get("offset") or 0), int(facts.get("length") or size)
    except ValueError as err:
        found = f"tensor {tensor.name}: offset or length is no number"
        raise BundleError(path, found, "numbers", _FIX) from err
    if length != size or offset < 0:
        found = f"tensor {tensor.name}: {length} bytes at {offset} in {name}"
        raise BundleError(path, found, f"{size} bytes, as its shape says", _FIX)
    try:
        with os.fdopen(os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                found = "not a plain file of one name (a link, a device or a folder)"
                raise BundleError(at, found, "a plain file in the folder of the model", _FIX)
            if offset + size > status.st_size:
                raise BundleError(at, f"{status.st_size} bytes", f"{offset + size} for {tensor.name}", _FIX)
            file.seek(offset)
            return file.read(size)
    except OSError as err:
        found = f"cannot be read ({err.strerror})"
        raise BundleError(at, found, f"the weights of {path.name}", "Keep the two files together.") from err


def upgrade_opset(model: bytes) -> bytes:
    """The file as it is when it is new enough and its inputs are no weights, else converted.

    Raises:
        BundleError: onnx cannot convert it.
    """
    import onnx
    from onnx import version_converter

    loaded = onnx.load_model_from_string(model)
    opset = next((one.version for one in loaded.opset_import if one.domain in ("", "ai.onnx")), _TARGET)
    weights = {tensor.name for tensor in loaded.graph.initializer}
    has_weight_inputs = any(value.name in weights for value in loaded.graph.input)
    if opset >= LEAST_OPSET and not has_weight_inputs:
        return model
    try:
        newer = loaded if opset >= LEAST_OPSET else version_converter.convert_version(loaded, _TARGET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as err:
        found = f"opset {opset}, which onnx cannot bring to {_TARGET}: {shorten(err)}"
        fix = "Export the model again with a newer opset."
        raise BundleError("model", found, f"opset {LEAST_OPSET} or newer", fix) from err
    weights = {tensor.name for tensor in newer.graph.initializer}
    inputs = [value for value in newer.graph.input if value.name not in weights]
    del newer.graph.input[:]
    newer.graph.input.extend(inputs)
    newer.ir_version = max(newer.ir_version, _LEAST_IR)
    return bytes(newer.SerializeToString())
