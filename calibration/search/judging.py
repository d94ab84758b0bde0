"""Judges candidates: runs them on the frames of an evaluator, first on a few of them, and asks the gate to choose."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration import gate
from calibration.errors import DataError
from calibration.gate.classification import Choice, GateSettings
from calibration.gate.detection import DetectionGateSettings
from calibration.gate.values import ValueGateSettings
from calibration.outputs.detections import Detections
from calibration.outputs.read import Answers
from calibration.outputs.values import Numbers
from calibration.patch import Patch
from calibration.search.evaluation import Evaluator
from calibration.search.progress import Progress, track
from calibration.targets.target import Target

Evidence = gate.Evidence[Answers]


@dataclass(frozen=True, slots=True)
class Judge:
    """The frames to judge on, what the unpatched model answers to them, and how strict to be."""

    target: Target
    evaluator: Evaluator
    unpatched: Evidence
    labels: NDArray[np.int64] | None
    """Classes of the live frames, if they are known."""
    settings: GateSettings
    detection_settings: DetectionGateSettings
    value_settings: ValueGateSettings
    progress: Progress

    def collect(
        self, patches: Mapping[str, Patch], conservative: Collection[str], seeded: Collection[str]
    ) -> list[Evidence]:
        """The answers of those that may be chosen.

        ``conservative`` names candidates for weak evidence, ``seeded`` those that meet all frames in any case.
        """
        if self.labels is None and self.evaluator.simulated is not None:
            finalists = self.evaluator.screen(self.target, patches, self.progress, seeded)
        else:
            names = (name for name in patches if self.labels is not None or name in conservative)
            finalists = dict.fromkeys(names)
        # A runner is let go before the next: five loaded models would take more memory than all the rest.
        return [
            self.evaluator.evaluate(
                name,
                self.target.runner(patches[name]),
                patch=patches[name],
                screened=screened,
                is_conservative=name in conservative,
            )
            for name, screened in track(self.progress, "judging", list(finalists.items()))
        ]

    def choose(self, evidence: Sequence[Evidence], tried: int) -> Choice:
        """The candidate to use, or none; ``tried`` is how many there were before a screening."""
        return gate.choose(
            self.unpatched,
            evidence,
            self.evaluator.healthy_answers,
            self.labels,
            self.settings,
            self.detection_settings,
            self.value_settings,
            tried=tried,
        )


def require_fitting_labels(labels: NDArray[np.int64] | None, answers: Answers) -> None:
    """Raise a DataError when a label is none of the model's classes, or the model is no classifier."""
    if labels is None:
        return
    if isinstance(answers, Detections | Numbers):
        kind = "a detector" if isinstance(answers, Detections) else "a model that answers numbers"
        raise DataError("labels", "classes of whole samples", f"none, for {kind}", "Leave the labels out.")
    classes = answers.shape[1]
    if labels.max() >= classes:
        bad = np.flatnonzero(labels >= classes)
        found = f"class {labels[bad[0]]}, and the model knows {classes}"
        fix = "Number the classes as the model does."
        raise DataError("labels", found, f"0 to {classes - 1}", fix, bad.tolist())
