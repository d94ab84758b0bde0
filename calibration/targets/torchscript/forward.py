"""The forward pass of a corrected model to the tensors that are aimed at, and what keeps one from being an aim."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from calibration.targets.base import Aim, Batch
from calibration.targets.torchscript import program
from calibration.targets.torchscript.gradient_graph import CorrectedGraph

Settings = Sequence[Any]
"""Scale and offset (C,) of each tap as tensors, in the order of ``CorrectedGraph.taps``."""

_ALIKE = 1e-3
"""Of the largest value: what an answer may differ by when a frame is alone and when it is among others."""


class Forward:
    """One compiled pass to all aims that a model has. It runs inside of ``program.running`` only."""

    def __init__(self, corrected: CorrectedGraph, asked: Sequence[Aim], x: Batch, settings: Settings) -> None:
        """Find the aims in what the model makes of ``x``, in its own layout.

        The name of a tap or head with the loss ``squares`` means that one, any other an output. Of two aims with one
        name the later counts.
        """
        aims = {aim.name: aim for aim in asked}
        self._corrected = corrected
        self._tensors = [
            aim.name for aim in aims.values() if aim.kind == "squares" and aim.name in corrected.tensors
        ]
        self._function = corrected.compile(self._tensors, with_answer=len(self._tensors) < len(aims))
        answer, _ = self._call(x, settings)
        self._flat_count = len(program.flat_tensors(answer))
        places = program.place_outputs(answer, len(x))
        self._places = {name: places[name] for name in aims if name in places and name not in self._tensors}
        self.aims = tuple(aim for name, aim in aims.items() if name in {*self._tensors, *self._places})

    def __call__(self, x: Batch, settings: Settings) -> dict[str, Any]:
        """The aims by name, as tensors."""
        answer, tensors = self._call(x, settings)
        flat = program.flat_tensors(answer)
        found = dict(zip(self._tensors, tensors, strict=True))
        return found | {name: flat[place] for name, place in self._places.items()}

    def leave_out(self, names: Collection[str]) -> None:
        """Do without some of the aims, and without all that only they need."""
        self.aims = tuple(aim for aim in self.aims if aim.name not in names)
        self._tensors = [name for name in self._tensors if name not in names]
        self._places = {name: place for name, place in self._places.items() if name not in names}
        self._function = self._corrected.compile(self._tensors, with_answer=bool(self._places))

    def choose_part(self, x: Batch, settings: Settings, most: int) -> int:
        """How many frames of ``x`` to take together: no more than ``most``, if the answers are the same so, or all."""
        size = max(n for n in range(1, len(x) + 1) if len(x) % n == 0 and n <= max(most, 1))
        if size == len(x):
            return size
        whole = self(x, settings)
        try:
            parts = [self(x[start : start + size], settings) for start in range(0, len(x), size)]
        except program.TORCH_FAILURES:  # the number of frames is built into it
            return len(x)
        alike = (_are_alike([part[name] for part in parts], value) for name, value in whole.items())
        return size if all(alike) else len(x)

    def find_problems(self, x: Batch, settings: Settings) -> dict[str, str]:
        """The aims that cannot be reached, and why; ``settings`` ask for gradients."""
        found = self._corrected.compile_search()(torch.tensor(x), *settings)
        of_tensors, of_answer = self._corrected.name_detours(found)
        if len(of_answer) != self._flat_count:  # which is which is not known: one stands for all
            of_answer = [next(filter(None, of_answer), "")] * self._flat_count
        problems = {name: of_tensors.get(name, "") for name in self._tensors}
        problems |= {name: of_answer[place] for name, place in self._places.items()}
        values = self(x, settings)
        for aim in self.aims:
            if aim.kind == "softmax" and values[aim.name].ndim < 2:
                problems[aim.name] = f"classes of {aim.name}, which has one axis"
        sound = {name: value for name, value in values.items() if not problems[name]}
        problems |= _find_failures(sound, settings)
        return {name: problem for name, problem in problems.items() if problem}

    def _call(self, x: Batch, settings: Settings) -> tuple[Any, list[Any]]:
        answer, tensors = self._function(torch.tensor(x), *settings)
        return answer, tensors


def _find_failures(values: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """What torch says against the derivatives of tensors, by their names."""
    found = {name: "no layer on the way to it" for name, value in values.items() if not value.requires_grad}
    left = {name: value for name, value in values.items() if value.requires_grad}
    if not left or not _why_not(list(left.values()), settings):
        return found
    return found | {name: _why_not([value], settings) for name, value in left.items()}


def _why_not(values: Sequence[Any], settings: Settings) -> str:
    try:
        total = sum(value.float().sum() for value in values)
        torch.autograd.grad(total, settings, allow_unused=True, retain_graph=True)
    except program.TORCH_FAILURES as err:
        return str(err).strip().split("\n", 1)[0].split(":", 1)[0]
    return ""


def _are_alike(parts: Sequence[Any], whole: Any) -> bool:
    if not whole.ndim:
        return False
    joined = torch.cat(list(parts))
    if joined.shape != whole.shape or not whole.numel():
        return bool(joined.shape == whole.shape)
    off = (joined.double() - whole.double()).abs()
    return bool(off.max() <= _ALIKE * whole.double().abs().max())
