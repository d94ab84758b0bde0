"""The stock client of the Open Inference Protocol against an address: ``python triton_calls.py ADDRESS TOKEN PICTURE``.

A program of its own: the client's libraries patch sockets. Prints one JSON object.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def main(address, token, picture):
    def headers():  # a new one each time: the client adds the length of a binary request to it
        return {"Authorization": f"Bearer {token}"}

    client = triton.InferenceServerClient(address)
    about = client.get_model_metadata("parts")
    name, output = about["inputs"][0]["name"], about["outputs"][0]["name"]
    tensor = np.random.default_rng(0).normal(size=(2, *about["inputs"][0]["shape"][1:])).astype(np.float32)
    answers = []
    for is_binary in (True, False):
        given = triton.InferInput(name, tensor.shape, "FP32")
        given.set_data_from_numpy(tensor, binary_data=is_binary)
        wanted = [triton.InferRequestedOutput(output, binary_data=is_binary)]
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
    return {
        "ready": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("parts")],
        "shapes": [list(one.shape) for one in answers],
        "are_alike": all(np.allclose(answers[0], one, atol=1e-4) for one in answers),
        "classes": [one.decode() for one in classes.ravel()],
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
