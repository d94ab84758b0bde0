"""The stock client of the Open Inference Protocol: ``python triton_calls.py http|grpc ADDRESS TOKEN PICTURE``.

A program of its own: the client's libraries patch sockets. Prints one JSON object.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
from tritonclient.utils import InferenceServerException

WAYS = {"http": ({"binary_data": True}, {"binary_data": False}), "grpc": ({},)}
"""How each transport may carry numbers."""


def main(transport, address, token, picture):
    triton = import_module(f"tritonclient.{transport}")

    def headers():  # a new one each time: the client adds the length of a binary request to it
        return {"authorization": f"Bearer {token}"}

    client = triton.InferenceServerClient(address)
    as_json = {"as_json": True} if transport == "grpc" else {}
    about = client.get_model_metadata("parts", headers=headers(), **as_json)
    name, output = about["inputs"][0]["name"], about["outputs"][0]["name"]
    shape = map(int, about["inputs"][0]["shape"][1:])
    tensor = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    answers = []
    for way in WAYS[transport]:
        given = triton.InferInput(name, tensor.shape, "FP32")
        given.set_data_from_numpy(tensor, **way)
        wanted = [triton.InferRequestedOutput(output, **way)]
        answers += [
            client.infer("parts", [given], outputs=outputs, headers=headers()).as_numpy(output)
            for outputs in (None, wanted)
        ]
    shown = triton.InferInput(name, [1], "BYTES")
    shown.set_data_from_numpy(np.array([Path(picture).read_bytes()], dtype=object))
    classes = client.infer(
        "parts", [shown], outputs=[triton.InferRequestedOutput(output, class_count=1)], headers=headers()
    ).as_numpy(output)
    try:
        client.infer("parts", [shown])
        refused = None
    except InferenceServerException as err:
        refused = err.status()
    checks = [
        client.is_server_live(),
        client.is_server_ready(),
        client.is_model_ready("parts", headers=headers()),
    ]
    return {
        "ready": checks,
        "shapes": [list(one.shape) for one in answers],
        "are_alike": all(np.allclose(answers[0], one, atol=1e-4) for one in answers),
        "classes": [one.decode() for one in classes.ravel()],
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
