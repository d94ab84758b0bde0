"""The files that a run needs, made once on a machine with the extra ``bench``: two models of one net, and pictures.

They go to the machine with the GPU as they are, so that it needs no exporter, no weights and no picture code.
"""

from pathlib import Path

import click
import numpy as np

from benchmarks.performance.gpu.contenders import BUNDLE, ONNX, SAMPLES, TORCHSCRIPT

PICTURES = BUNDLE.parents[2] / "pictures"


def prepare(work: Path) -> None:
    """Write the files that are missing.

    Raises:
        ClickException: a package is missing that makes them; the message names it.
    """
    work.mkdir(parents=True, exist_ok=True)
    try:
        if not (work / SAMPLES).exists():
            _write_samples(work / SAMPLES)
        if not all((work / name).exists() for name in (TORCHSCRIPT, ONNX)):
            _write_models(work)
    except ModuleNotFoundError as err:
        raise click.ClickException(
            f"{err.name} is not installed, which makes the files of {work}. Install the extra 'bench', or make them on "
            f"another machine with --prepare-only and copy the folder here"
        ) from err


def _write_samples(path: Path) -> None:
    """The demo's photographs as its model takes them, in half precision to halve the file."""
    from edge_runtime.bundles.verify import load_bundle
    from edge_runtime.cli.bench.bare import prepare_file
    from edge_runtime.inference.preprocess import make_preprocessor

    preprocessor = make_preprocessor(load_bundle(BUNDLE).manifest.preprocess)
    pictures = [prepare_file(preprocessor, one) for one in sorted(PICTURES.glob("*.jpg"))]
    np.save(path, np.concatenate(pictures).astype(np.float16))


def _write_models(work: Path) -> None:
    import torch

    from benchmarks.accuracy.datasets.export import to_onnx
    from benchmarks.accuracy.datasets.lite0 import float_net
    from calibration.targets.torchscript import program
    from edge_runtime.bundles.build.quiet import silence

    net, example = float_net().to(memory_format=torch.contiguous_format), torch.zeros(2, 3, 224, 224)
    with silence("torch"), torch.no_grad():
        traced = torch.jit.trace(net, example)
        onnx = to_onnx(net, example, "input")
    (work / TORCHSCRIPT).write_bytes(program.save(traced))
    (work / ONNX).write_bytes(onnx)


def read_samples(work: Path) -> np.ndarray:
    """(N,3,224,224) float32: the photographs and their mirror images, as many as the largest batch and more."""
    upright = np.load(work / SAMPLES).astype(np.float32)
    return np.concatenate([upright, upright[..., ::-1]])
