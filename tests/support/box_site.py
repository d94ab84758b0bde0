"""A bundle of a detector of bright squares, and a camera that shows some."""

import numpy as np

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.specs import DetectionSpec, PictureSpec
from tests.support.bundle_models import png
from tests.support.onnx_nets import detector, street

SIDE = 32
PREPROCESS = PictureSpec(
    colour="rgb", width=SIDE, height=SIDE, geometry="stretch", filter="area", mean=(127,) * 3, std=(128,) * 3
)
BOXES = DetectionSpec(packing="columns", boxes="found", box_format="cxcywh", is_normalised=False)


def box_bundle(folder):
    """Built in ``folder``: finds squares of 8 x 8 pixels in pictures of 32 x 32, and calls them a person."""
    pictures = np.rint(street(3, seed=9) * 128 + 127).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    golden = {f"g{i}.png": png(picture) for i, picture in enumerate(pictures)}
    model = detector()
    materials = Materials(ModelFiles(model), golden, ["person"])
    return load_bundle(
        build_bundle(Recipe("boxes", 1, PREPROCESS, BOXES), materials, OnnxEngine(model), folder)
    )


def show_squares(folder, cells, **options):
    """A camera whose n-th picture has a square in the n-th of ``cells`` (0..15), none where that is None."""
    folder.mkdir()
    for number, cell in enumerate(cells):
        picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
        if cell is not None:
            row, column = divmod(cell, 4)
            picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 190
        (folder / f"{number:03}.png").write_bytes(png(picture))
    return {"path": str(folder), "model": "boxes", **options}
