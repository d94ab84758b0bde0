"""What a camera's user would write instead of the daemon: ``ffmpeg`` pipes, ONNX Runtime, paho.

``python -m benchmarks.performance.pipe.script ORDER.json``. A thread a camera in one process and one session for all:
the leanest form of it. No timeouts, no reconnects, no drift, no queue on disk.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.performance.peers.classifier import Classify, open_classifier
from benchmarks.performance.peers.pictures import MEAN, SHORTER_SIDE, SIZE, STD


def play(url: str, fps: float, classify: Classify, client: paho.Client, topic: str) -> None:
    """One camera, until its pipe ends."""
    filters = f"fps={fps:g},scale=-2:{SHORTER_SIDE},crop={SIZE}:{SIZE}"
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", url, "-vf", filters]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as pipe:
        assert pipe.stdout is not None
        while len(frame := pipe.stdout.read(SIZE * SIZE * 3)) == SIZE * SIZE * 3:
            pixels = np.frombuffer(frame, np.uint8).reshape(SIZE, SIZE, 3)
            tensor = (pixels.astype(np.float32) - MEAN) / STD
            top = classify(np.ascontiguousarray(tensor.transpose(2, 0, 1)[np.newaxis]))
            client.publish(topic, json.dumps({"at": time.time(), "top": top}), qos=1)


def main(order_path: Path) -> None:
    """Do ``{"urls", "fps", "bundle", "port", "topic"}``."""
    order = json.loads(order_path.read_text())
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", order["port"])
    client.loop_start()
    classify = open_classifier(Path(order["bundle"]), 1)
    threads = [
        threading.Thread(
            target=play, args=(url, order["fps"], classify, client, f"{order['topic']}/camera-{n}")
        )
        for n, url in enumerate(order["urls"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
