"""The detector of the pedestrians track: ``examples.street_pedestrians`` with its suppression, as an int8 IR."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def int8_model(work: Path, samples: NDArray[np.float32]) -> Path:
    """Path of the int8 IR's ``.xml``; made on the first call.

    Args:
        work: Folder that keeps the wheel and the models.
        samples: Healthy prepared pictures (N,3,300,300) to calibrate the activations with.
    """
    path = work / "ssdlite-int8.xml"
    if not path.is_file():
        import nncf
        import openvino

        data = nncf.Dataset([sample[None] for sample in samples])
        preset = nncf.QuantizationPreset.MIXED
        quantized = nncf.quantize(float_model(work), data, preset=preset, subset_size=len(samples))
        openvino.save_model(quantized, path, compress_to_fp16=False)
    return path


def float_model(work: Path) -> Any:
    """The model in float32, ``openvino.Model`` with input (N,3,300,300) float32, 0..255 RGB, with suppression.

    Raises:
        BundleError: pip cannot fetch the graph.
    """
    import openvino

    from examples.street_pedestrians import open_graph

    graph, picture = open_graph(work)
    rewired = openvino.Model(graph.get_results(), [picture], "ssdlite")
    rewired.validate_nodes_and_infer_types()
    return rewired
