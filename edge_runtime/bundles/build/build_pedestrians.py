"""Builds the detector bundle: pedestrians on the street, int8 OpenVINO, by one command.

``edge-runtime bundle build street-pedestrians --out DIR`` fetches the model, quantizes it with NNCF on frames of the
demo's street clip and its photographs, or on your own pictures, and compares it with float on a third of them. Called
by the command line.
"""

import tempfile
from pathlib import Path

import cv2

from calibration.targets import model_files
from edge_runtime.bundles.build.from_recipe import Built, build
from edge_runtime.bundles.build.pedestrian_graph import SIDE, WHEEL, detector, graph_file
from edge_runtime.bundles.build.recipe_file import RecipeFile
from edge_runtime.errors import BundleError
from edge_runtime.inference.specs import DetectionSpec, PreprocessSpec

DATA = Path(__file__).parents[2] / "sources" / "demo"
CLIP, PHOTOGRAPHS = DATA / "street.mp4", DATA / "pictures"
GOLDEN = ("photographer.jpg", "unicycle.jpg", "astronaut.jpg", "car.jpg")
"""Photographs of the demo, free to pass on: three with people in them."""

KEEP_FLOAT = (".*Postprocessor/Decode.*", ".*MultipleGridAnchorGenerator.*")
"""The decoding of boxes: exponentials of offsets, which eight bits would move by pixels; it takes no time."""

PREPROCESS = PreprocessSpec(
    colour="rgb", width=SIDE, height=SIDE, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)
POSTPROCESS = DetectionSpec(
    boxes="boxes",
    scores="scores",
    box_format="yxyx",
    is_normalised=True,
    background_class=0,
    score_threshold=0.5,
    nms_iou=0.5,
)
_STEP = 2  # of 250 frames every other one


def build_pedestrians(
    out_dir: Path, number: int, pictures: Path | None = None, work: Path | None = None
) -> Built:
    """Build ``out_dir/street-pedestrians/<number>/``.

    Args:
        out_dir: Folder of bundles.
        number: Version of the bundle.
        pictures: A folder of pictures, or a video, like what the camera will see; None takes the demo's street.
        work: Folder that keeps the fetched model; None fetches it anew.

    Raises:
        BundleError: the model cannot be fetched or the pictures cannot be used, or int8 loses too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        from edge_runtime.bundles.build.convert import saved

        model_files.write(room / "model.xml", saved(detector(graph_file(work or room))))
        recipe = RecipeFile(
            name="street-pedestrians",
            version=number,
            model=room / "model.xml",
            preprocess=PREPROCESS,
            postprocess=POSTPROCESS,
            labels=("background", "person"),
            golden=_golden(room / "golden"),
            calibration=_calibration(room / "pictures", pictures),
            quantize="int8",
            keep_float=KEEP_FLOAT,
            source=f"PyPI {WHEEL}",
            licence="MIT",
        )
        return build(recipe, room, out_dir, "edge-runtime bundle build street-pedestrians")


def _golden(folder: Path) -> Path:
    folder.mkdir()
    for name in GOLDEN:
        (folder / name).write_bytes((PHOTOGRAPHS / name).read_bytes())
    return folder


def _calibration(folder: Path, given: Path | None) -> Path:
    if given is not None and given.is_dir():
        return given
    folder.mkdir()
    _write_frames(given or CLIP, folder)
    if given is None:
        for path in sorted(PHOTOGRAPHS.glob("*.jpg")):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def _write_frames(video: Path, folder: Path) -> None:
    """Every other frame of a video as PNG."""
    capture, number = cv2.VideoCapture(str(video)), 0
    try:
        while capture.grab():
            if number % _STEP == 0:
                _, frame = capture.retrieve()
                cv2.imwrite(str(folder / f"frame{number:06d}.png"), frame)
            number += 1
    finally:
        capture.release()
    if number == 0:
        fix = "Give --pictures a folder of pictures, or a video that plays."
        raise BundleError(video, "no frames", "a folder of pictures or a video", fix)
