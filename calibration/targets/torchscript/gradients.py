"""The derivatives of a TorchScript model by torch's own autograd; see :class:`calibration.targets.base.Gradients`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.patch import Affine
from calibration.targets.base import LEAST_PROBABILITY, Aim, Batch, Gradients, LossKind, NoDerivative, Slope
from calibration.targets.torchscript import program
from calibration.targets.torchscript.forward import Forward
from calibration.targets.torchscript.gradient_graph import CorrectedGraph
from calibration.targets.torchscript.heap import TRIM_AFTER_BYTES, HeapTrimmer

Arrays = Mapping[str, NDArray[np.float32]]


class TorchGradients(Gradients):
    """The derivatives of one model for batches of one size.

    Autograd keeps most tensors of the forward pass, so the frames of a batch take it in small parts where that makes
    no difference: losses and slopes add up.
    """

    def __init__(
        self,
        corrected: CorrectedGraph,
        aims: Sequence[Aim],
        x: Batch,
        name: str,
        threads: int,
        most_frames: int,
        channel_axis: int = 1,
    ) -> None:
        """Build both passes for batches like ``x``.

        Args:
            corrected: The model.
            aims: Those asked for; see :class:`Forward`.
            x: float32 (N, C, ...).
            name: Of the model, for messages.
            threads: As the target has.
            most_frames: To take together.
            channel_axis: Of the module's own layout.

        Raises:
            NoDerivative: none of the aims can be reached.
            ModelError: torch failed on the samples.
        """
        self._name, self._threads, self.batch, self._channels = name, threads, len(x), corrected.taps
        self._channel_axis = channel_axis
        x = self._to_own_layout(x)
        self.taps = tuple(corrected.taps)
        self._heap, self._has_run = (
            HeapTrimmer(4 * TRIM_AFTER_BYTES),
            True,
        )  # more is in use, and asked for again
        with self._running():
            self._forward = Forward(corrected, aims, x, self._settings())
            self._part = self._forward.choose_part(x, self._settings(), most_frames)
        with self._running(with_gradients=True):
            problems = self._forward.find_problems(x[: self._part], self._settings(need_slopes=True))
            self.problems = tuple(dict.fromkeys(problems.values()))
            if len(problems) == len(self._forward.aims):
                raise NoDerivative(", ".join(self.problems) or "no layer on the way to the answers")
            self._forward.leave_out(problems)
            self.aims = self._forward.aims
            self.taps = self._find_taps(x[: self._part])

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        """In parts, joined."""
        with self._running():
            parts = [self._forward(part, self._settings()) for part in self._cut(self._to_own_layout(x))]
            joined = {aim.name: torch.cat([part[aim.name] for part in parts]) for aim in self.aims}
            del parts
            self._heap.count(x)
            self._has_run = True
            return {name: value.float().numpy() for name, value in joined.items()}

    def step(
        self, x: Batch, affines: Mapping[str, Affine], targets: Arrays, weights: Arrays
    ) -> tuple[dict[str, float], dict[str, Slope]]:
        """Part by part."""
        if self._has_run:
            self._heap.trim()  # what a caller made of the answers of many frames has come and gone
            self._has_run = False
        losses = dict.fromkeys((aim.name for aim in self.aims), 0.0)
        slopes = {tap: np.zeros((2, self._channels[tap])) for tap in self.taps}
        with self._running(with_gradients=True):
            settings = self._settings(affines, need_slopes=True)
            for number, part in enumerate(self._cut(self._to_own_layout(x))):
                found = self._compare(part, settings, number, targets, weights)
                for name, loss in found.items():
                    losses[name] += float(loss.detach())
                gradients = self._differentiate(sum(found.values()), settings)
                for tap, values in gradients.items():
                    slopes[tap] += [value.numpy() for value in values]
            del found, gradients
        self._heap.count(x)
        return losses, {tap: Slope(*found) for tap, found in slopes.items()}

    def _compare(
        self, part: Batch, settings: list[Any], number: int, targets: Arrays, weights: Arrays
    ) -> dict[str, Any]:
        """The losses of a part of the batch by aim."""
        found, losses = self._forward(part, settings), dict[str, Any]()
        for aim in self.aims:
            target = targets[aim.name]
            rows = len(target) * self._part // self.batch
            own = slice(number * rows, (number + 1) * rows)
            weight = weights[aim.name]
            has_rows = weight.ndim == target.ndim and len(weight) > 1
            pair = target[own], weight[own] if has_rows else weight
            losses[aim.name] = _loss(aim.kind, found[aim.name].float(), *map(torch.tensor, pair))
        return losses

    def _differentiate(self, loss: Any, settings: list[Any]) -> dict[str, list[Any]]:
        """The derivatives by scale and offset of the taps; without those that the loss does not depend on."""
        found = torch.autograd.grad(loss, settings, allow_unused=True)
        pairs = zip(self._channels, zip(found[::2], found[1::2], strict=True), strict=True)
        return {tap: list(pair) for tap, pair in pairs if None not in pair}

    def _find_taps(self, x: Batch) -> tuple[str, ...]:
        settings = self._settings(need_slopes=True)
        total = sum(value.float().sum() for value in self._forward(x, settings).values())
        return tuple(self._differentiate(total, settings))

    def _settings(
        self, affines: Mapping[str, Affine] | None = None, *, need_slopes: bool = False
    ) -> list[Any]:
        """Scale and offset of every tap as tensors; those that nothing is said of stay as they are."""
        found = []
        for tap, channels in self._channels.items():
            affine = (affines or {}).get(tap)
            if affine is None or tap not in self.taps:
                found += [torch.ones(channels), torch.zeros(channels)]
            else:
                found += [torch.tensor(affine.scale), torch.tensor(affine.offset)]
        return [value.requires_grad_(need_slopes) for value in found]

    def _to_own_layout(self, x: Batch) -> Batch:
        """``x`` (N, C, ...) as the module takes it."""
        return np.ascontiguousarray(np.moveaxis(x, 1, self._channel_axis))

    def _cut(self, x: Batch) -> Iterator[Batch]:
        for start in range(0, len(x), self._part):
            yield x[start : start + self._part]

    def _running(self, *, with_gradients: bool = False) -> AbstractContextManager[None]:
        return program.running(self._name, self._threads, with_gradients=with_gradients)


def _loss(kind: LossKind, y: Any, target: Any, weight: Any) -> Any:
    """See :class:`calibration.targets.base.Aim`."""
    match kind:
        case "squares":
            return ((y - target).square() * weight).sum() / 2
        case "sigmoid":
            return ((torch.nn.functional.softplus(y) - target * y) * weight).sum()
        case "softmax":
            return -(target * weight * torch.log_softmax(y, 1)).sum()
        case "likelihood":
            return -(target * weight * torch.log(y + LEAST_PROBABILITY)).sum()
