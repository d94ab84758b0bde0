"""The probe: only the first layers of an IR, with the moments of single frames as outputs, for live drift.

It is the observer cut off behind the first taps, so that watching for drift costs a small share of one inference and
gives the very numbers that the baseline was recorded with. It takes the model's own input, layout and type.
"""

from calibration.targets import openvino_observer
from calibration.targets.base import ModelFiles
from calibration.targets.openvino_graph import IrGraph, files_of
from calibration.targets.openvino_taps import find_taps

MEAN, VARIANCE = "/mean", "/var"


def build(graph: IrGraph, first: int) -> ModelFiles:
    """An IR: outputs ``<tap>/mean`` and ``<tap>/var``, float32, N*C elements each; rewires ``graph``."""
    taps = find_taps(graph)[0][:first]
    model = openvino_observer.build(graph, taps, None).model
    names = [tap.name + suffix for tap in taps for suffix in (MEAN, VARIANCE)]
    for output, name in zip(model.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    return ModelFiles(*files_of(model))
