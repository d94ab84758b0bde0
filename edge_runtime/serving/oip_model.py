"""The server and its models as the Open Inference Protocol describes them: plain values for each transport."""

from typing import Any

from edge_runtime import __version__
from edge_runtime.inference.engines.parts import parts_of
from edge_runtime.serving.oip_request import find_limit
from edge_runtime.serving.oip_tensors import DATATYPES
from edge_runtime.serving.predictions import Predictions, ServedModel
from edge_runtime.serving.refusals import Refusal

EXTENSIONS = ("classification", "model_configuration")
"""Of each transport."""
_PLATFORMS = {"onnx": "onnxruntime_onnx", "openvino": "openvino", "torchscript": "pytorch_torchscript"}


def describe_server(*extensions: str) -> dict[str, Any]:
    """Name, version and extensions; those given belong to the transport."""
    return {"name": "edge-runtime", "version": __version__, "extensions": [*extensions, *EXTENSIONS]}


def find_model(predictions: Predictions, name: str | None, version: str | None) -> tuple[str, ServedModel]:
    """A model by its name, in the version that is asked for, if one is.

    Raises:
        Refusal: it is not here.
    """
    name, model = predictions.find(name)
    found = str(model.bundle.manifest.version)
    if version not in (None, found):
        raise Refusal(404, f"no version {version[:64]!r} of model {name} answers; version {found} does")
    return name, model


def describe_model(name: str, model: ServedModel) -> dict[str, Any]:
    """Its metadata: version, format, inputs and outputs; -1 is the number of pictures or windows."""
    engine, manifest, spec = (
        model.pipeline.slot.engine,
        model.bundle.manifest,
        model.pipeline.preprocessor.spec,
    )
    parts = [(part.name, part.shape) for part in parts_of(spec)] or [(engine.input.name, spec.tensor_shape)]
    outputs = [
        {
            "name": one.name,
            "datatype": DATATYPES.get(one.dtype, one.dtype.upper()),
            "shape": [-1, *(-1 if size is None else size for size in one.shape[1:])],
        }
        for one in engine.outputs
    ]
    return {
        "name": name,
        "versions": [str(manifest.version)],
        "platform": _PLATFORMS.get(manifest.format, manifest.format),
        "inputs": [{"name": part, "datatype": "FP32", "shape": [-1, *shape]} for part, shape in parts],
        "outputs": outputs,
    }


def describe_config(name: str, model: ServedModel) -> dict[str, Any]:
    """The same in the form of Triton's extension ``model_configuration``, which its tools ask for: ``perf_analyzer``.

    Of its keys those that mean something here. ``max_batch_size`` are the pictures that one request may hold; ``dims``
    are without them.
    """
    about = describe_model(name, model)

    def describe(tensors: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"name": one["name"], "data_type": f"TYPE_{one['datatype']}", "dims": one["shape"][1:]}
            for one in tensors
        ]

    return {
        "name": name,
        "platform": about["platform"],
        "max_batch_size": find_limit(model),
        "input": describe(about["inputs"]),
        "output": describe(about["outputs"]),
    }
