"""How a recalibration is done: seed, sizes, strictness, patches of before. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calibration.gate.classification import GateSettings
from calibration.gate.detection import DetectionGateSettings
from calibration.gate.values import ValueGateSettings
from calibration.outputs.read import Layout
from calibration.patch import Patch
from calibration.search.distillation import DistillationSettings


@dataclass(frozen=True, slots=True)
class Options:
    """How a recalibration is done; the defaults were measured.

    Attributes:
        seed: Seed of all draws.
        threads: CPU threads.
        most_observed: Reference frames to take moments of; the others are held out. None takes 48, and 512 vectors of
            features (:func:`calibration.search.shares.frames_to_observe`).
        most_judged: Frames to judge on where there are healthy samples too, held-out ones first.
        most_judged_alone: Frames to judge on by labels, or without healthy samples.
        most_healthy_samples: Healthy samples to judge on under the simulated drift, and as many others to distil from;
            None takes half of what :func:`calibration.profile` keeps.
        most_screened: Simulated frames on which all candidates are tried, before the best of them meet all frames.
        output: Name of the output with the answers, of a model that has several; None takes the baseline's.
        layout: How the outputs are read; None takes the baseline's, or infers it from what the model answers now.
        first_taps: Correct no more than this many layers, from the input on; None sets no limit.
        distillation: How patches are distilled; 0 steps leave it at those by moments.
        known: By candidate name, patches of this model and baseline that were accepted before, for a drift like this
            one. They are judged first; where one is as good as those by moments, nothing is distilled.
        start: The patch in force, of this model and baseline, where its drift has grown: the descent may start there
            instead of at the input correction. The result is compared with the unpatched model all the same.
        gate_settings: Thresholds of the gate for classifiers.
        detection_gate_settings: Thresholds of the gate for detectors.
        value_gate_settings: Thresholds of the gate for models that answer numbers.
    """

    seed: int = 0
    threads: int = 1
    most_observed: int | None = None
    most_judged: int = 48
    most_judged_alone: int = 64
    most_healthy_samples: int | None = None
    most_screened: int = 12
    output: str | None = None
    layout: Layout | None = None
    first_taps: int | None = None
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    known: Mapping[str, Patch] = field(default_factory=dict)
    start: Patch | None = None
    gate_settings: GateSettings = field(default_factory=GateSettings)
    detection_gate_settings: DetectionGateSettings = field(default_factory=DetectionGateSettings)
    value_gate_settings: ValueGateSettings = field(default_factory=ValueGateSettings)
