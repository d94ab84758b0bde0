"""A small random share of confident answers with their pictures, for a person who checks whether sure means right.

A model that is surely wrong shows in no figure of the box: only a person who looks at its sure answers finds it.

```
<state_dir>/models/<model>/audit/a17.jpg     what the model took; of a window of a sensor a chart, a17.svg
                                 a17.json    stream, number, time, generation, answer
```
The newest ``keep`` stay. Nothing is kept where the configuration forbids pictures, and an edit to that removes all.
"""

import queue
import random
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from edge_runtime.config import AuditConfig
from edge_runtime.datatypes import Generation, Sample
from edge_runtime.deployment.rollout_policy.figures import CONFIDENT
from edge_runtime.deployment.sample_views import SampleView
from edge_runtime.errors import StateError
from edge_runtime.inference.answers import AnyAnswer, confidence_of
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder, remove
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

FOLDER = "audit"
MOST_SIDE = 1280
"""Pixels of a picture's longer side."""
MOST_WAITING = 4
"""Frames that wait to be written: of a burst on a slow disk the others are not kept."""
MOST_LABELS = 20
_NAME = re.compile(r"a([1-9][0-9]{0,8})\.json")


@dataclass(frozen=True, slots=True)
class _Chosen:
    sample: Sample
    generation: Generation
    answer: AnyAnswer


class Audit:
    """Inference workers offer, one thread writes."""

    def __init__(
        self,
        model: str,
        settings: AuditConfig,
        folder: Path,
        crashes: Crashes,
        *,
        view: SampleView,
        keeps_pictures: bool,
        seed: int | None = None,
    ) -> None:
        """Nothing is kept before ``start``.

        Args:
            model: Its name, for the thread.
            settings: How many, how often.
            folder: Of the model below the state directory.
            crashes: The account of unexpected failures.
            view: Draws a sample.
            keeps_pictures: Whether pictures may be kept at all.
            seed: Of the choice; None chooses differently each time.
        """
        self._settings, self._model_folder, self._folder = settings, folder, folder / FOLDER
        self._view, self._keeps_pictures = view, keeps_pictures
        self._random = random.Random(seed)  # noqa: S311 - a choice of pictures
        self._waiting: queue.Queue[_Chosen] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()
        """Held while a picture is written or all are removed."""
        self.thread = SupervisedThread(f"audit-{model}", self._run, crashes, is_vital=False)

    def start(self) -> None:
        """Begin to keep."""
        self.set_pictures(are_kept=self._keeps_pictures)
        self.thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; what waits is not kept."""
        self.thread.stop()
        self.thread.join(timeout_s)

    def set_pictures(self, *, are_kept: bool) -> None:
        """Whether pictures may be kept from now on; those of before go when they may not."""
        with self._lock:
            self._keeps_pictures = are_kept
            if not are_kept:
                remove(self._folder, below=self._model_folder)

    def offer(self, generation: Generation, sample: Sample, answer: AnyAnswer) -> None:
        """Keep it if it is a confident one, and chance says so; returns at once."""
        if sample.values is None or not self._keeps_pictures or self._random.random() >= self._settings.share:
            return
        confidence = confidence_of(answer)
        if confidence is None or confidence < CONFIDENT:
            return
        try:
            self._waiting.put_nowait(_Chosen(sample, generation, answer))
        except queue.Full:
            return

    def _run(self) -> None:
        while not self.thread.stopping.is_set():
            try:
                chosen = self._waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            self.keep(chosen.generation, chosen.sample, chosen.answer)
            self.thread.succeeded()

    def keep(self, generation: Generation, sample: Sample, answer: AnyAnswer) -> None:
        """Write one, and forget the oldest. A disk that refuses costs the picture."""
        if sample.values is None:
            return
        picture = self._view.encode(sample.values, MOST_SIDE)
        with self._lock:
            if not self._keeps_pictures:
                return
            try:
                make_folder(self._folder)
                known = self._list()
                name = f"a{known[-1] + 1 if known else 1}"
                write_atomically(self._folder / f"{name}.{self._view.suffix}", picture)
                write_atomically(
                    self._folder / f"{name}.json", encode_object(_describe(generation, sample, answer))
                )
            except (OSError, StateError) as err:
                log.warning("answer not kept for audit", path=str(self._folder), reason=str(err))
                return
            for number in known[: max(0, len(known) + 1 - self._settings.keep)]:
                for suffix in ("json", "jpg", "svg"):
                    remove(self._folder / f"a{number}.{suffix}", below=self._model_folder)

    def _list(self) -> list[int]:
        """Numbers of those that are kept, oldest first."""
        found = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(one[1]) for one in found if one is not None)


def _describe(generation: Generation, sample: Sample, answer: AnyAnswer) -> dict[str, Any]:
    return {
        "stream": sample.stream,
        "seq": sample.seq,
        "captured_at": format_rfc3339(sample.captured_at_wall_s),
        "generation": str(generation),
        "top": None if answer.top is None else answer.top[:MOST_LABELS],
        "detections": None if answer.detections is None else answer.detections[:MOST_LABELS],
    }
