"""What is compared with on a float net with live BatchNorm: re-estimation and TENT. Needs torch and fvcore."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.accuracy.methods import oracles, tent
from benchmarks.accuracy.records import TENT, TENT_LONG, TENT_STILL

Samples = NDArray[np.float32]
FloatModel = Callable[[Samples], float]
Judge = Callable[[NDArray[np.int64]], float]
"""Accuracy of (N,) predicted classes of the whole test part."""

TENTS = {TENT: (1, False), TENT_LONG: (5, False), TENT_STILL: (5, True)}
"""Passes over the reference, and whether the statistics of the training stay."""


def float_model(make_net: Callable[[], nn.Module], judge: Judge) -> FloatModel:
    """The net as it is; it is made when it is first asked."""
    return lambda x: judge(oracles.classify(make_net(), x))


def float_methods(
    make_net: Callable[[], nn.Module], judge: Judge, settings: tent.TentSettings
) -> Mapping[str, Callable[[Samples], FloatModel]]:
    """By its name, what each method makes of the net and reference samples."""

    def re_estimated(recipe: Callable[[nn.Module, Samples], nn.Module], live: Samples) -> FloatModel:
        again = recipe(make_net(), live)
        return lambda x: judge(oracles.classify(again, x))

    def adapted(passes: int, is_still: bool, live: Samples) -> FloatModel:
        again = tent.tent(make_net(), live, settings, passes, is_still=is_still)
        return lambda x: judge(tent.answers(again, x, settings))

    found = {name: partial(re_estimated, recipe) for name, recipe in oracles.ORACLES.items()}
    return found | {name: partial(adapted, *how) for name, how in TENTS.items()}
