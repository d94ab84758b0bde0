"""A bundle that is recalibrated in a second, pictures of its site and a camera that shows them."""

import numpy as np

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.specs import ClassificationSpec, PictureSpec
from tests.support.bundle_models import png
from tests.support.onnx_nets import classifier, pictures, quantized

SIDE = 16
PREPROCESS = PictureSpec(
    colour="rgb", width=SIDE, height=SIDE, geometry="stretch", filter="area", mean=(127,) * 3, std=(128,) * 3
)


def frames_of(count, seed, drift=lambda x: x):
    """(N, SIDE, SIDE, 3) uint8."""
    x = drift(pictures(count, seed=seed)) * 128 + 127
    return np.rint(x).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def small_bundle(folder):
    """Built in ``folder``: an int8 classifier of pictures of 16 x 16, which is recalibrated in a second."""
    model = quantized(classifier(seed=4), folder)
    golden = {f"g{i}.png": png(picture) for i, picture in enumerate(frames_of(3, 9))}
    recipe = Recipe("small", 1, PREPROCESS, ClassificationSpec(scores="logits", top_k=3))
    materials = Materials(ModelFiles(model), golden, list("abcdefghij"))
    return load_bundle(build_bundle(recipe, materials, OnnxEngine(model), folder))


def small_camera(folder, count=60, drift=lambda x: x, **options):
    """A camera that shows ``count`` pictures of the site again and again; they are files in the new ``folder``."""
    folder.mkdir()
    for number, frame in enumerate(frames_of(count, 200, drift)):
        (folder / f"{number:02}.png").write_bytes(png(frame))
    return {"belt": {"path": str(folder), "model": "parts", "fps": 30, "loop": True, **options}}
