"""The same cameras on Roboflow's ``inference``: its pipeline plays them, its model class runs the file, paho publishes.

``python -m benchmarks.performance.pipe.roboflow_script ORDER.json``, in an environment with the package. The model is
opened from a folder, without the hub; nothing is asked of it. Its session keeps the package's own threads.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from inference import InferencePipeline
from inference_models import AutoModel
from paho.mqtt.enums import CallbackAPIVersion

_KIND = {"model_architecture": "resnet", "task_type": "classification", "backend_type": "onnx"}
_INPUT = {
    "training_input_size": {"height": 224, "width": 224}, "dynamic_spatial_size_supported": False, "color_mode": "rgb",
    "resize_mode": "center-crop", "input_channels": 3, "scaling_factor": 1, "normalization": [[127] * 3, [128] * 3],
}  # fmt: skip
_RUN = {"forward_pass": {"static_batch_size": 1}, "post_processing": {"type": "softmax", "fused": False}}


def write_package(bundle: Path, folder: Path) -> None:
    """The bundle's model as a package of ``inference_models``: its class for ResNets takes any classifier."""
    shutil.copy(bundle / "model.onnx", folder / "weights.onnx")
    shutil.copy(bundle / "labels.txt", folder / "class_names.txt")
    (folder / "model_config.json").write_text(json.dumps(_KIND))
    (folder / "inference_config.json").write_text(json.dumps({"network_input": _INPUT, **_RUN}))


def main(order_path: Path) -> None:
    """Do ``{"urls", "fps", "bundle", "port", "topic"}``."""
    order = json.loads(order_path.read_text())
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", order["port"])
    client.loop_start()
    with tempfile.TemporaryDirectory() as folder:
        write_package(Path(order["bundle"]), Path(folder))
        model = AutoModel.from_pretrained(folder)

    def classify(frames: Sequence[Any]) -> list[dict[str, Any]]:
        return [_best(model, frame.image) for frame in frames]

    def publish(found: Any, frames: Any) -> None:
        """Of one camera they come as they are, of several as lists."""
        pairs = zip(found, frames, strict=True) if isinstance(frames, list) else [(found, frames)]
        for top, frame in pairs:
            if frame is not None:
                text = json.dumps({"at": time.time(), "top": [top]})
                client.publish(f"{order['topic']}/camera-{frame.source_id}", text, qos=1)

    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=order["urls"],
        on_video_frame=classify,
        on_prediction=publish,
        max_fps=order["fps"] * len(order["urls"]),  # of all cameras together
    )
    pipeline.start()
    pipeline.join()


def _best(model: Any, pixels: Any) -> dict[str, Any]:
    found = model(pixels)
    index = int(found.class_id[0])
    return {"label": model.class_names[index], "score": float(found.confidence[0][index])}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
