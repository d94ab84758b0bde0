"""Messages and files of one sensor -> frames of its windows: the part that every source of samples shares.

A message that cannot be read becomes a frame with the reason, which is rejected and counted like a bad picture.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import structlog

from edge_runtime.datatypes import Flaw, Frame, Origin
from edge_runtime.inference.preparation import read_or_flaw
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.signals.rate_check import RateCheck
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.still_check import StillCheck
from edge_runtime.inference.signals.times import spread_back
from edge_runtime.inference.signals.windows import Window, WindowCounts, Windower
from edge_runtime.inference.specs import SignalSpec
from edge_runtime.sources.base import SourceCounts

log = structlog.get_logger()

FindSpec = Callable[[], SignalSpec]
"""What the model that answers now wants of this stream. The same object as long as it is the same; raises
``SourceLost`` where the model takes no windows."""


class WindowFrames:
    """Frames of one stream, made one at a time as they are asked for.

    Args:
        stream: Name of the stream.
        find_spec: Asked at every message: another bundle, with other windows, may have come into force.
        first_seq: Sequence number of the first frame.
        is_live: Whether samples come as they are measured, so that their rate can be checked.
    """

    def __init__(
        self, stream: str, find_spec: FindSpec, first_seq: int = 0, *, is_live: bool = False
    ) -> None:
        self.stream, self._find_spec, self.next_seq = stream, find_spec, first_seq
        self._windowers = Windower(find_spec()), WindowCounts()
        """The one at work, and the counts of those before. One value, replaced at once: no count is ever seen twice."""
        self._rate = RateCheck(self.spec) if is_live else None
        self._still = StillCheck(self.spec.channel_names)
        self._frames: Iterator[Frame] = iter(())

    @property
    def _windower(self) -> Windower:
        return self._windowers[0]

    @property
    def interval_s(self) -> float:
        """From window to window."""
        return self._windower.interval_s

    @property
    def spec(self) -> SignalSpec:
        """That the windows are made by."""
        return self._windower.spec

    def put(
        self,
        payload: bytes,
        at_s: float,
        at_wall_s: float,
        origin: Origin | None = None,
        *,
        is_after_loss: bool = False,
    ) -> None:
        """Take a message; ask for all frames of the one before first.

        Args:
            payload: All its bytes.
            at_s: When it came, monotonic.
            at_wall_s: The same as Unix time: of its last sample, where samples have no times.
            origin: What its sender says about it.
            is_after_loss: Whether messages were lost since the one before.
        """
        self.follow_spec()
        if is_after_loss:
            self._lose_samples()
        piece = self._read(payload)
        if not isinstance(piece, Flaw):
            piece = self._with_time_of(origin, piece)
        self.put_piece(piece, at_s, at_wall_s, origin)

    def put_piece(
        self,
        piece: Readings | Flaw,
        at_s: float,
        at_wall_s: float,
        origin: Origin | None = None,
        *,
        is_file: bool = False,
    ) -> None:
        """Take samples that were read already, or why there are none; ``is_file``: a pause says nothing."""
        if isinstance(piece, Flaw):
            self._lose_samples()
            self._frames = iter([self._refuse(piece, at_s, at_wall_s, origin)])
            return
        if self._rate is not None:
            self._rate.note(piece, at_s)
        windows = self._windower.add(piece, None if is_file else at_s, at_wall_s)
        self._frames = (self._make_frame(window, at_s, origin) for window in windows)

    def begin_anew(self) -> None:
        """What comes next does not continue what came before."""
        self._replace_windower(self.spec)

    def _with_time_of(self, origin: Origin | None, readings: Readings) -> Readings:
        """Samples that say no time have that of their message, which is the time of the last one, where it has one."""
        if readings.times_wall_s is not None or origin is None or origin.captured_at_wall_s is None:
            return readings
        last = np.array([origin.captured_at_wall_s])
        return replace(readings, times_wall_s=spread_back(last, len(readings), self.spec.input_rate_hz))

    def finish(self, at_s: float) -> None:
        """Nothing more comes: no late sample is waited for."""
        self._frames = (self._make_frame(window, at_s, None) for window in self._windower.finish())

    def next_frame(self) -> Frame | None:
        """The next frame of the last message; None when there is no more."""
        return next(self._frames, None)

    def frames(self) -> Iterator[Frame]:
        """All frames of the last message."""
        return self._frames

    def add_counts(self, counts: SourceCounts) -> SourceCounts:
        """These counts with those of the samples."""
        windower, before = self._windowers
        now, rate = windower.counts, self._rate
        doubt = (None if rate is None else rate.problem) or self._still.problem
        return counts.plus(
            samples=before.samples + now.samples,
            late_samples=before.late + now.late,
            duplicate_samples=before.duplicates + now.duplicates,
            gaps=before.gaps + now.gaps,
            clock_jumps=before.clock_jumps + now.clock_jumps,
            interval_s=windower.interval_s + windower.spec.late_s,
            last_problem=doubt or counts.last_problem,
            doubt=doubt,
        )

    @property
    def is_outdated(self) -> bool:
        """Whether another bundle came into force than the one that windows are made for."""
        return self._find_spec() is not self.spec

    def follow_spec(self) -> None:
        """Make windows as the bundle in force wants them, from now on."""
        if self.is_outdated:
            log.info("windows are made as another bundle wants them", stream=self.stream)
            self._replace_windower(self._find_spec())

    def _replace_windower(self, spec: SignalSpec) -> None:
        windower, before = self._windowers
        self._windowers = Windower(spec, windower.free_slot), before.plus(windower.counts)
        self._rate = None if self._rate is None else RateCheck(spec)
        self._still = StillCheck(spec.channel_names)

    def _lose_samples(self) -> None:
        self._windower.begin_anew()
        if self._rate is not None:
            self._rate.begin_anew()

    def _read(self, payload: bytes) -> Readings | Flaw:
        spec = self.spec
        return read_or_flaw(
            lambda: read_payload(payload, spec.payload, spec.channel_names, spec.input_rate_hz)
        )

    def _make_frame(self, window: Window, at_s: float, origin: Origin | None) -> Frame:
        self._still.note(window.numbers)
        return Frame(
            stream=self.stream,
            seq=self._number(),
            payload=window.numbers,
            captured_at_s=at_s,
            captured_at_wall_s=window.ended_at_wall_s,
            colour=None,
            origin=origin,
            rate_hz=self.spec.input_rate_hz,
            channels=self.spec.channel_names,
            slots=window.slots,
        )

    def _refuse(self, flaw: Flaw, at_s: float, at_wall_s: float, origin: Origin | None) -> Frame:
        return Frame(self.stream, self._number(), b"", at_s, at_wall_s, None, origin=origin, flaw=flaw)

    def _number(self) -> int:
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        return seq
