"""The steps of one recalibration: split, observe, correct, judge. Every early end is a refusal with its reason.

Works on a :class:`calibration.targets.target.Target`; no file, no clock, no framework.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.drift.divergence import drift_between
from calibration.gate.classification import Choice
from calibration.gate.values import for_reconstructions
from calibration.outputs.read import (
    Answers,
    ClassScores,
    Layout,
    UnknownAnswers,
    as_judged,
    layout_of,
    named_only,
    read_answers,
)
from calibration.outputs.values import Values
from calibration.patch import Affine, Patch, clipped_channels
from calibration.search import dead_channels, outliers, reference, two_states, white_noise
from calibration.search.candidates import UNPATCHED
from calibration.search.distilled import DISTILLED, HALF_WAY
from calibration.search.evaluation import Evaluator
from calibration.search.explanation import explain, fitted_frames
from calibration.search.input_correction import correct_input
from calibration.search.judging import Judge, require_fitting_labels
from calibration.search.known import is_conservative, is_good_enough
from calibration.search.making import Maker
from calibration.search.options import Options
from calibration.search.preconditions import MOST_LEFT_OF_SMALL_GAINS, most_left, note_about, refusal_reason
from calibration.search.progress import Progress, tell_nobody
from calibration.search.resampling import resample
from calibration.search.shares import Halves, Split, frames_to_observe
from calibration.search.simulation.choice import why_unexplained
from calibration.search.simulation.model import DriftModel
from calibration.stats.heap import collect_garbage, trim_heap
from calibration.stats.moments import INPUT_TAP, FrameMoments, moments_of_frames
from calibration.stats.sampling import spread_over
from calibration.stats.sensor_features import sensor_features_of_frames
from calibration.stats.signal_features import is_signal
from calibration.targets.base import Batch, Observation
from calibration.targets.target import Target
from calibration.verdict import FrameCounts, Verdict

FRAME_MOMENTS_OF = 4
"""The input and the first three layers: sensor drift shows there, content does not."""


class _Refused(Exception):
    """An early end; the text is the reason."""


class Search:
    """One recalibration of one target on one reference set."""

    def __init__(
        self,
        target: Target,
        baseline: Baseline,
        given: reference.ReferenceSet,
        options: Options,
        created_wall_s: float,
        progress: Progress = tell_nobody,
    ) -> None:
        self._target, self._baseline, self._given, self._options = target, baseline, given, options
        self._progress = progress
        self._rng = np.random.default_rng(options.seed)
        self._maker = Maker(target, baseline, options, created_wall_s, progress)
        self._halves = Halves.of(baseline.healthy_samples, given.x.shape[1:], options)
        could_teach = self._halves.can_judge and options.distillation.steps > 0
        self._would_distil = could_teach and self._halves.can_teach
        self._unexplained = 0.0
        """Share of the distance between live and healthy frames that the simulated drift leaves."""
        note = note_about(baseline, lacks_teachers=could_teach and not self._would_distil)
        self._verdict = Verdict(
            accepted=False,
            candidate=UNPATCHED,
            patch=None,
            reasons=(),
            scores={},
            drift={},
            frames=FrameCounts(len(given.x), {}),
            skipped_layers=target.skipped,
            model_sha256=target.sha256,
            baseline_id=baseline.id,
            seed=options.seed,
            notes=() if note is None else (note,),
        )

    def decide(self) -> Verdict:
        """Run all steps; one that refuses is the last.

        The order bounds the memory: patches are made while no other model is loaded, and every model that runs
        afterwards makes the target free its observer.
        """
        try:
            parts = self._usable_parts()
            sensor, whole_input = self._require_explained_drift(parts)
            layout, usual = self._usual(parts)
            self._progress("measuring", 1.0)
            verdict = self._use_known(parts, layout, usual, sensor, whole_input)
            if verdict is not None:
                return verdict
            distilled = self._distilled(parts, layout, sensor, whole_input)
            # On detectors moments still find what distillation does not.
            is_brief = bool(distilled) and isinstance(layout, ClassScores | Values)
            patches = self._by_moments(parts, whole_input, are_distilled=is_brief)
            patches = {**patches, **distilled, **self._options.known}
            judge = self._make_judge(parts, layout, usual, sensor)
        except (UnknownAnswers, _Refused) as err:
            return self._refuse(err)
        self._note_frames(parts, judge.evaluator)
        return self._judge(judge, patches)

    def judge_known(self) -> Verdict:
        """The gate's decision on the known patches of the options; no other one is made."""
        try:
            parts = self._usable_parts()
            sensor, _ = self._require_explained_drift(parts)
            layout, usual = self._usual(parts)
            judge = self._make_judge(parts, layout, usual, sensor)
        except (UnknownAnswers, _Refused) as err:
            return self._refuse(err)
        self._note_frames(parts, judge.evaluator)
        return self._judge(judge, self._options.known)

    def _refuse(self, err: Exception) -> Verdict:
        reason = f"No candidate can be judged: {err}." if isinstance(err, UnknownAnswers) else str(err)
        return replace(self._verdict, reasons=(f"{reason} Nothing is changed.",))

    def _use_known(
        self, parts: Split, layout: Layout, usual: Answers, sensor: DriftModel | None, whole_input: Affine
    ) -> Verdict | None:
        """A known patch, where the gate accepts it and none by moments is clearly better: then nothing is distilled.

        None without a known patch, where it is not good enough, and where nothing would be distilled anyway.
        """
        known = self._options.known
        if not known or sensor is None or not self._would_distil or parts.labels is not None:
            return None
        is_brief = isinstance(layout, ClassScores | Values)
        patches = self._by_moments(parts, whole_input, are_distilled=is_brief) | dict(known)
        judge = self._make_judge(parts, layout, usual, sensor)
        evidence = judge.collect(patches, self._conservative(patches), self._seeded)
        known_alone = [one for one in evidence if one.name in known]
        choice = judge.choose(known_alone, len(known_alone))
        scores = judge.choose(evidence, len(patches)).scores
        if not choice.accepted or not is_good_enough(choice.name, scores):
            return None
        self._note_frames(parts, judge.evaluator)
        note = f"{choice.name} was accepted before, for a drift like this one; nothing was distilled."
        self._verdict = replace(self._verdict, notes=(*self._verdict.notes, note))
        return self._conclude(replace(choice, scores=scores), patches)

    def _usable_parts(self) -> Split:
        x, y, options = self._given.x, self._given.y, self._options
        self._progress("measuring", 0.0)
        frames = moments_of_frames(x)
        dead = dead_channels.find_dead_channels(frames, self._baseline)
        if dead:
            self._verdict = replace(self._verdict, dead_channels=tuple(dead))
            raise _Refused(dead_channels.in_words(dead, x.shape[1], len(x)))
        usable = reference.find_usable(x, frames, self._baseline.moments[INPUT_TAP])
        found = outliers.drop_outliers(x, usable, self._baseline)
        self._verdict = replace(self._verdict, frames=FrameCounts(len(x), found.left_out))
        if found.problem:
            raise _Refused(found.problem)
        if len(found.index) < reference.FEWEST_FRAMES:
            few = f"{len(found.index)} of {len(x)} reference frames are usable"
            raise _Refused(f"{few}; at least {reference.FEWEST_FRAMES} are needed.")
        is_alone = y is not None or self._baseline.healthy_samples is None
        most_judged = options.most_judged_alone if is_alone else options.most_judged
        most_observed = frames_to_observe(x.shape[1:], options)
        observe, judge = reference.split(len(found.index), most_observed, most_judged, self._rng)
        judged = found.index[judge]
        return Split(found.index[observe], judged, None if y is None else y[judged])

    def _require_explained_drift(self, parts: Split) -> tuple[DriftModel | None, Affine]:
        """How the live sensor shows what the healthy one saw, and the correction of the input alone.

        Frees the observed frames: what follows needs the memory.
        """
        observed = self._given.x[parts.observed]
        seen = self._require_something_to_correct(observed, are_labelled=parts.labels is not None)
        self._progress("measuring", 0.5)
        sensor = self._require_sensor(observed, seen, are_labelled=parts.labels is not None)
        return sensor, self._input_correction(observed)

    def _require_something_to_correct(self, observed: Batch, *, are_labelled: bool) -> Observation:
        """The input and the first layers on the observed frames, before any correction."""
        seen = self._look(observed)
        self._verdict = replace(self._verdict, drift=drift_between(seen.moments, self._baseline.moments))
        if not are_labelled:
            reason = refusal_reason(observed, seen, self._baseline, self._options.seed)
            if reason is not None:
                raise _Refused(reason)
        return seen

    def _require_sensor(self, observed: Batch, seen: Observation, *, are_labelled: bool) -> DriftModel | None:
        """None where no sensor can judge, and labels have to.

        Found on a few frames, before anything large is in memory.
        """
        kept = self._baseline.healthy_samples
        if kept is None or not self._halves.can_judge:
            return None
        some = kept.only(spread_over(len(kept), fitted_frames(observed.shape[1:]))).samples()
        if not are_labelled and white_noise.is_white_noise(observed, some):
            raise _Refused(white_noise.IN_WORDS)
        live, healthy = self._look_closely(observed, seen), self._baseline.frames
        found = explain(some, observed, self._look_closely, live, healthy, self._options.seed)
        self._unexplained, most = found.left, most_left(observed.shape[1:])
        if found.left > most and not are_labelled:
            raise _Refused(why_unexplained(observed.shape[1:], found.left, most))
        if found.left > most:
            return None
        if is_signal(observed.shape[1:]) and not are_labelled:
            part = two_states.find_healthy_part(live, found.simulated, healthy)
            if part:
                raise _Refused(two_states.in_words(part))
        return found.sensor

    def _note_frames(self, parts: Split, evaluator: Evaluator) -> None:
        simulated = 0 if evaluator.simulated is None else len(evaluator.simulated)
        counts = replace(
            self._verdict.frames,
            observed=len(parts.observed),
            judged=len(parts.judged),
            healthy_samples=simulated,
        )
        notes = self._verdict.notes
        if not simulated and parts.labels is None:
            notes = (*notes, "The baseline holds no healthy samples; only the live frames could judge.")
        self._verdict = replace(self._verdict, frames=counts, notes=notes)

    def _look(self, observed: Batch) -> Observation:
        """The input and the first layers, before any correction."""
        return self._target.observe(
            observed, first_taps=FRAME_MOMENTS_OF - 1, frames_of_first=FRAME_MOMENTS_OF
        )

    def _look_closely(self, x: Batch, seen: Observation | None = None) -> Mapping[str, FrameMoments]:
        """Single-frame moments by which explanations are compared; of signals, those of the sensor as well."""
        frames = (seen or self._look(x)).frames
        return {**frames, **sensor_features_of_frames(x)} if is_signal(x.shape[1:]) else frames

    def _usual(self, parts: Split) -> tuple[Layout, Answers]:
        """How the model's answers are read, and those on the judged frames without a patch.

        The healthy frames tell how: a drifted detector may give no box. Unreadable ones need no further step.
        """
        judged = self._given.x[parts.judged]
        outputs = named_only(self._target.runner()(judged), self._baseline.output)
        kept = self._baseline.healthy_samples
        layout = self._options.layout or (None if kept is None else kept.layout) or layout_of(outputs)
        answers = read_answers(outputs, layout, judged)
        require_fitting_labels(self._given.y, answers)
        return layout, answers if self._given.y is not None else as_judged(answers, layout)

    def _make_judge(self, parts: Split, layout: Layout, usual: Answers, sensor: DriftModel | None) -> Judge:
        """What candidates are judged on; ``usual`` are the unpatched model's answers to the live frames of it."""
        runner, options = self._target.runner(), self._options  # frees the observer
        evaluator = self._evaluator(parts, layout, sensor)
        unpatched = evaluator.evaluate(UNPATCHED, runner, live=usual)
        gate = options.gate_settings
        if self._unexplained > MOST_LEFT_OF_SMALL_GAINS:
            gate = replace(gate, sure_gain=np.inf)
        values = options.value_gate_settings
        if layout is Values.RECONSTRUCTION:
            values = for_reconstructions(values)
        gates = gate, options.detection_gate_settings, values
        return Judge(self._target, evaluator, unpatched, parts.labels, *gates, self._progress)

    def _conservative(self, patches: Mapping[str, Patch]) -> set[str]:
        """Names of the candidates that may be trusted on weak evidence."""
        return {name for name, patch in patches.items() if is_conservative(patch, self._target.taps)}

    def _evaluator(self, parts: Split, layout: Layout, sensor: DriftModel | None) -> Evaluator:
        """Healthy frames under today's drift join the live ones where the baseline kept some."""
        live, chosen, output = self._given.x[parts.judged], self._halves.judges(), self._baseline.output
        are_labelled = self._given.y is not None
        is_by_label = are_labelled and layout is ClassScores.INDEPENDENT
        if chosen is None or sensor is None or is_by_label:
            return Evaluator(live, None, None, layout, output=output, are_labelled=are_labelled)
        again = sensor.show(chosen.samples()).draw(self._rng)
        part = spread_over(len(again), self._options.most_screened)
        healthy = None if chosen.answers is None else as_judged(chosen.answers, layout)
        kept = self._baseline.healthy_samples
        resampled = resample(sensor, kept, self._given.x, parts.observed, self._options.seed)
        return Evaluator(live, again, healthy, layout, part, output, are_labelled, resampled)

    def _by_moments(self, parts: Split, whole_input: Affine, *, are_distilled: bool) -> dict[str, Patch]:
        observed = self._given.x[parts.observed]
        return self._maker.by_moments(observed, whole_input, are_distilled=are_distilled)

    def _input_correction(self, observed: Batch) -> Affine:
        seen, healthy = self._given.input_moments(observed), self._baseline.moments[INPUT_TAP]
        return correct_input(seen, healthy, observed.shape[1:])

    def _distilled(
        self, parts: Split, layout: Layout, sensor: DriftModel | None, whole_input: Affine
    ) -> Mapping[str, Patch]:
        """The patches by distillation; none without teachers."""
        teachers = self._halves.teachers() if self._would_distil else None
        if teachers is None or sensor is None:
            return {}
        trim_heap()  # of fitting the camera: 40 MiB, and the derivatives need the most memory of all
        found = self._maker.distilled(teachers, layout, sensor, whole_input, len(parts.observed), self._rng)
        collect_garbage()  # of the derivatives (Lite0: 130 MiB), before the observer needs as much
        notes = self._verdict.notes if found.note is None else (*self._verdict.notes, found.note)
        counts = replace(self._verdict.frames, distilled_from=found.teachers)
        self._verdict = replace(self._verdict, frames=counts, notes=notes)
        return found.patches

    @property
    def _seeded(self) -> set[str]:
        """Names of the candidates that meet all frames in any case."""
        return {DISTILLED, HALF_WAY, *self._options.known}

    def _judge(self, judge: Judge, patches: Mapping[str, Patch]) -> Verdict:
        evidence = judge.collect(patches, self._conservative(patches), self._seeded)
        return self._conclude(judge.choose(evidence, len(patches)), patches)

    def _conclude(self, choice: Choice, patches: Mapping[str, Patch]) -> Verdict:
        verdict = replace(self._verdict, reasons=choice.reasons, scores=choice.scores)
        if not choice.accepted:
            return verdict
        patch = patches[choice.name]
        return replace(
            verdict,
            accepted=True,
            candidate=choice.name,
            patch=patch,
            channels_left_alone=sum(self._target.patched(patch).left_alone.values()),
            channels_clipped=clipped_channels(patch.taps),
        )
