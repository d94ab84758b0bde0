"""Makes the patches of all candidates of one recalibration: by moments, and by distillation. It judges none."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.baseline.baseline import Baseline, HealthySamples
from calibration.errors import ModelError
from calibration.outputs.read import Layout
from calibration.patch import Affine, Patch, correction
from calibration.search.candidates import candidates
from calibration.search.distilled import Teacher, distilled_candidates
from calibration.search.options import Options
from calibration.search.progress import Progress, track
from calibration.search.simulation.model import DriftModel
from calibration.stats.moments import INPUT_TAP, Moments
from calibration.targets.base import Batch, NoDerivative, Normalisation
from calibration.targets.target import Target


@dataclass(frozen=True, slots=True)
class FromTeachers:
    """What distillation gave.

    Attributes:
        patches: By name; none where it was not possible.
        teachers: Healthy samples that were learned from.
        note: What is to be said about it; None: nothing.
    """

    patches: Mapping[str, Patch]
    teachers: int
    note: str | None


@dataclass(frozen=True, slots=True)
class Maker:
    """What all patches of one recalibration have in common."""

    target: Target
    baseline: Baseline
    options: Options
    created_wall_s: float
    progress: Progress

    def by_moments(self, observed: Batch, whole_input: Affine, *, are_distilled: bool) -> dict[str, Patch]:
        """A patch per candidate by moments; one observer pass serves all depths of a (input, prior) pair.

        Args:
            observed: The live frames (N, C, ...) to take moments of.
            whole_input: Gives the input its healthy moments.
            are_distilled: Whether others are distilled, so that fewer earn their time.
        """
        chosen = candidates(len(self.target.taps), self.options.first_taps, are_distilled=are_distilled)
        healthy, seen = self.baseline.moments, dict[tuple[float, float], Moments]()
        passes = sorted({candidate.passes for candidate in chosen if candidate.first_taps})
        for share, prior in track(self.progress, "correcting", passes):
            on_input = whole_input.part_way(share) if share else None
            normalise = Normalisation(healthy, prior, on_input)
            seen[share, prior] = self.target.observe(observed, normalise, self.options.first_taps).moments
        patches = {}
        for candidate in chosen:
            taps = {INPUT_TAP: whole_input.part_way(candidate.input_share)} if candidate.input_share else {}
            for tap in self.target.taps[: candidate.first_taps]:
                taps[tap.name] = correction(
                    seen[candidate.passes][tap.name], healthy[tap.name], candidate.prior
                )
            patches[candidate.name] = self._patch(candidate.name, taps, len(observed))
        return patches

    def distilled(
        self,
        samples: HealthySamples,
        layout: Layout,
        sensor: DriftModel,
        whole_input: Affine,
        frames: int,
        rng: np.random.Generator,
    ) -> FromTeachers:
        """Those by distillation, from the input correction on; none where that is not possible, with a note.

        Args:
            samples: Healthy samples that judge nothing.
            layout: How the model's outputs are read.
            sensor: What today's sensor makes of a healthy frame.
            whole_input: Gives the input its healthy moments.
            frames: Live frames that were observed.
            rng: Source of all draws.
        """
        options, last = self.options, self.options.start
        try:
            found = distilled_candidates(
                self.target,
                Teacher(samples, self.baseline.moments, layout, self.baseline.output),
                sensor.show,
                {INPUT_TAP: whole_input},
                options.distillation,
                options.first_taps,
                rng,
                self.progress,
                None if last is None else last.taps,
            )
        except (NoDerivative, ModelError, MemoryError) as err:
            cause = f"the model has parts without a derivative ({err})"
            if isinstance(err, MemoryError):
                cause = "the memory does not suffice (on a box recalibration.memory_mib)"
            elif isinstance(err, ModelError):  # too little memory among the reasons: moments need less
                cause = f"it failed on this model ({err})"
            return FromTeachers({}, 0, f"No patch was distilled: {cause}.")
        note = None
        if found.goes_on and last is not None:
            note = f"The distilled patches were found from the patch in force ({last.id})."
        patches = {name: self._patch(name, taps, frames) for name, taps in found.corrections.items()}
        return FromTeachers(patches, len(samples), note)

    def _patch(self, name: str, taps: Mapping[str, Affine], frames: int) -> Patch:
        return Patch(
            taps=taps,
            model_sha256=self.target.sha256,
            baseline_id=self.baseline.id,
            candidate=name,
            frames=frames,
            created_wall_s=self.created_wall_s,
        )
