"""The reference set of live frames: the filter before it, the reservoir in memory, its files, and the privacy switch.

``pictures: never``: of every sample only the input's moments, class and time are kept, in memory and on disk. While a
job collects its frames they are held in memory, then handed to it in memory and let go. What that costs: frames from
before the task began have no pixels any more, so a task waits for new ones, and the baseline holds no samples, so
that only conservative candidates can be accepted.

A picture is written ``SETTLE_S`` after it had to compete for its place, at a bounded rate: most are crowded out
before. With 256 places and a frame a second, simulated with 1 to 1000 classes: 880 to 993 files in the first eight
hours, 21 to 44 in the last of them. A killed daemon loses the newest frames, a stopped one none.

One thread calls all of this, except ``status``.
"""

from dataclasses import dataclass

import numpy as np
import structlog

from edge_runtime.config import ReferenceConfig
from edge_runtime.datatypes import Sample
from edge_runtime.deployment.reports import forget_thumbnails
from edge_runtime.errors import StateError
from edge_runtime.recalibration.context import ModelContext, compute_input_moments
from edge_runtime.recalibration.reference.erasure import forget_samples
from edge_runtime.recalibration.reference.frame_filter import FrameFilter
from edge_runtime.recalibration.reference.reservoir import InputMoments, Kept, Reservoir, ReservoirLimits
from edge_runtime.recalibration.reference.reservoir_store import ReservoirStore
from edge_runtime.recalibration.task import Cause, Task
from edge_runtime.system.own_folder import remove

log = structlog.get_logger()

SETTLE_S = 60.0
LONG_S = 300.0  # after which a frame is written though no newer ones came
WRITE_EVERY_S = 10.0
WRITE_BURST = 64.0
"""At most 64 files at once and one every 10 s on average: with 77 KB a picture at the very most 0.67 GB a day."""
LOOK_EVERY_S = 1.0
RETRY_S = 60.0
FLUSH_S = 2.0


@dataclass(frozen=True, slots=True)
class ReservoirStatus:
    """How full it is and what was left out, in the names and the order of ``/status``."""

    frames: int
    """In memory."""
    most: int
    """Frames that can be collected at all."""
    mib: float
    """That they take."""
    classes: int
    """Predicted classes among the frames."""
    pictures: str
    """As ``recalibration.reference.pictures``."""
    on_disk: int
    """Frames there."""
    restored: int
    """Frames taken over from an earlier run."""
    unsaved: int
    """Frames that the disk refused."""
    dropped_on_disk: dict[str, int]
    """Files of an earlier run that were not taken over, by reason."""
    problem: str | None
    """Why the disk does not take them; None: it does."""
    skipped: dict[str, int]
    """Samples that were not worth keeping, by reason."""


class LiveReferenceSet:
    """The live frames of one model that are kept in memory and on disk."""

    def __init__(self, context: ModelContext, settings: ReferenceConfig, every_s: float) -> None:
        self._context, self._model_state, self._settings = context, context.model_state, settings
        self._clock, self._wall_clock = context.clock, context.wall_clock
        self._filter = FrameFilter(every_s)
        self._reservoir = Reservoir(_make_limits(settings))
        self._store: ReservoirStore | None = None
        self._is_open = self._is_holding = False
        self._credit, self._credit_at_s = WRITE_BURST, self._clock()
        self._look_at_s = -np.inf
        self._problem: str | None = None
        self._restored = self._unsaved_count = 0
        self._dropped_on_disk: dict[str, int] = {}

    @property
    def most(self) -> int:
        """How many frames can be collected at all."""
        return self._reservoir.most

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures may be kept."""
        return self._settings.pictures == "keep"

    # ---- life ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take back what an earlier run kept; idempotent.

        A folder that cannot be used is logged and tried again now and then; meanwhile memory alone serves.
        """
        if self._is_open:
            return
        self._is_open = True
        self._open_store()
        self._forget_pictures_if_forbidden()

    def close(self) -> None:
        """Write what is not on disk yet, as far as it goes quickly."""
        end_s = self._clock() + FLUSH_S
        for kept in self._find_unsaved():
            if self._clock() >= end_s or not self._save(kept):
                return

    def reconfigure(self, settings: ReferenceConfig, every_s: float) -> None:
        """Use other settings from now on. Turned to ``pictures: never``, everything kept goes at once."""
        old, self._settings = self._settings, settings
        self._filter.every_s = every_s
        self._drop(self._reservoir.limit(_make_limits(settings)))
        if not self._is_open:
            return
        if settings.pictures != old.pictures:
            self._reservoir.forget_before(np.inf)
            self._filter.forget()
        if (settings.pictures, settings.persist) != (old.pictures, old.persist):
            self._open_store()
        self._forget_pictures_if_forbidden()

    def status(self) -> ReservoirStatus:
        """For people and machines; safe from any thread."""
        store = self._store
        return ReservoirStatus(
            frames=len(self._reservoir),
            most=self.most,
            mib=round(self._reservoir.size_bytes / 2**20, 2),
            classes=len(self._reservoir.classes),
            pictures=self._settings.pictures,
            on_disk=0 if store is None else len(store),
            restored=self._restored,
            unsaved=self._unsaved_count,
            dropped_on_disk=self._dropped_on_disk,
            problem=self._problem,
            skipped={str(flaw): count for flaw, count in self._filter.refused.items()},
        )

    def _forget_pictures_if_forbidden(self) -> None:
        if not self.keeps_pictures:
            forget_samples(self._model_state.folder)
            forget_thumbnails(self._model_state.folder)

    # ---- samples -------------------------------------------------------------------------------------------

    def take(self, sample: Sample, label: int) -> None:
        """Keep a sample if it is worth it, else count it."""
        assert sample.values is not None
        at_s = sample.captured_at_s
        if self._filter.find_flaw(sample.stream, sample.values, at_s, sample.slots) is not None:
            return
        with_values = self.keeps_pictures or self._is_holding
        one = Kept(
            sample.stream,
            sample.seq,
            label,
            sample.captured_at_s,
            sample.captured_at_wall_s,
            sample.values if with_values else None,
            None if self.keeps_pictures else self._measure_input(sample),
        )
        self._forget_other_shapes(one)
        self._drop(self._reservoir.add(one))

    def begin(self, since_s: float) -> None:
        """A task begins to collect: drop what came before ``since_s``, and hold pictures from now on."""
        self.forget_before(since_s)
        self._is_holding = True

    def end(self) -> None:
        """The task has its frames, or has given up: what must not be kept goes."""
        self._is_holding = False
        if not self.keeps_pictures:
            self._reservoir.strip()

    def forget_before(self, at_s: float) -> None:
        """Drop what was captured earlier."""
        self._drop(self._reservoir.forget_before(at_s))

    def collect(self, task: Task) -> tuple[list[Kept], bool]:
        """The frames for a task, oldest first, and whether they are enough.

        A drift wants what the camera sees now: the newest. Anything else an even choice from all that is kept.
        """
        wanted = min(task.wanted, self.most)  # a picture may be larger than those seen when the task began
        choose = (
            self._reservoir.choose_newest if task.cause is Cause.DRIFT else self._reservoir.choose_balanced
        )
        kept = choose(task.frames_since_s, wanted, task.stream)
        return kept, len(kept) >= wanted

    def list_moments(self, task: Task) -> list[InputMoments]:
        """Those of the task's time of which no picture was kept."""
        return self._reservoir.list_moments(task.frames_since_s, task.stream)

    def _measure_input(self, sample: Sample) -> InputMoments:
        mean, var = compute_input_moments(sample.tensor, self._context.channel_axis)
        return InputMoments(tuple(mean.tolist()), tuple(var.tolist()))

    def _forget_other_shapes(self, one: Kept) -> None:
        """Pictures of another size were prepared for another model under the same name: they cannot be mixed."""
        shapes = {kept.values.shape for kept in self._reservoir.entries if kept.values is not None}
        if one.values is not None and shapes - {one.values.shape}:
            self.forget_before(np.inf)

    # ---- files ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Write one picture if it is time to."""
        now_s = self._clock()
        self._credit = min(WRITE_BURST, self._credit + (now_s - self._credit_at_s) / WRITE_EVERY_S)
        self._credit_at_s = now_s
        if self._credit < 1 or now_s < self._look_at_s:
            return
        if self._store is None and self._settings.persist and self._is_open:
            self._open_store()
        oldest = next(iter(self._find_unsaved()), None)
        settled_s = max(self._reservoir.fresh_since_s - SETTLE_S, now_s - LONG_S)
        if oldest is None or oldest.at_s > settled_s:
            self._look_at_s = now_s + LOOK_EVERY_S
        elif self._save(oldest):
            self._credit -= 1

    def _find_unsaved(self) -> list[Kept]:
        store = self._store
        return [] if store is None else [kept for kept in self._reservoir.entries if kept not in store]

    def _open_store(self) -> None:
        self._store = None
        if not self._settings.persist:
            remove(self._model_state.reservoir, below=self._model_state.folder)
            return
        store = ReservoirStore(self._model_state.reservoir, self._context.identity.bundle)
        age_s = self._reservoir.limits.age_s
        try:
            found, dropped = store.open(
                self._clock(), self._wall_clock(), age_s, with_pictures=self.keeps_pictures
            )
        except StateError as err:
            self._look_at_s = self._clock() + RETRY_S
            self._note(str(err))
            return
        self._store, self._dropped_on_disk = store, dropped
        for kept in found:
            self._drop(self._reservoir.add(kept))
        self._restored = len(found)

    def _save(self, kept: Kept) -> bool:
        assert self._store is not None
        try:
            self._store.save(kept if self.keeps_pictures else kept.remove_values())
        except StateError as err:
            self._unsaved_count += 1
            self._look_at_s = self._clock() + RETRY_S
            self._note(str(err))
            return False
        if self._problem is not None:
            self._problem = None
            log.info("the reservoir is kept on disk again")
        return True

    def _note(self, problem: str) -> None:
        if self._problem is None:
            log.warning("the reservoir is in memory only", reason=problem)
        self._problem = problem

    def _drop(self, gone: list[Kept]) -> None:
        if self._store is not None:
            for kept in gone:
                self._store.remove(kept)


def _make_limits(settings: ReferenceConfig) -> ReservoirLimits:
    return ReservoirLimits(
        settings.reservoir, settings.reservoir_mib * 2**20, settings.max_age_h * 3600, fresh=settings.frames
    )
