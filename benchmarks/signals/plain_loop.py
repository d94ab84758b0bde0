"""A loop of forty lines as an engineer would write it: paho takes windows, ONNX Runtime answers, paho publishes.

It keeps nothing on disk, checks nothing, and has one thread for all. ``python plain_loop.py PORT MODEL TOPIC``
"""

import json
import sys
import time

import numpy as np
import onnxruntime
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

LABELS = ("idle", "walking", "loose", "worn")


def main(port: int, model: str, topic: str) -> None:
    """Answer until the end."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, seq = session.get_inputs()[0].name, 0

    def answer(client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        nonlocal seq
        samples = np.frombuffer(message.payload, "<f4").reshape(-1, 3)
        logits = session.run(None, {name: np.ascontiguousarray(samples.T)[None]})[0][0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = int(scores.argmax())
        top = [{"index": best, "label": LABELS[best], "score": round(float(scores[best]), 4)}]
        result = {"seq": seq, "captured_at": time.time(), "top": top}
        client.publish(f"{topic}/result/pump", json.dumps(result), qos=1)
        seq += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(1000)
    client.on_message = answer
    client.connect("127.0.0.1", port)
    client.subscribe(f"{topic}/signal/pump", qos=0)
    client.loop_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
