"""Whether as many samples come as the rate says: a wrong one makes wrong windows, which nothing else shows.

Pure: times are arguments. Not for files and pipes, which may come at any speed.
"""

from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.specs import SignalSpec

MOST_OFF = 0.1
"""Share by which the rate may differ."""
LEAST_S, LEAST_WINDOWS, LEAST_MESSAGES = 10.0, 4, 16
"""Of a stretch that is judged: one message more or less must not count."""
NEEDED = 2
"""Stretches in a row that have to say the same: a backlog after a pause is one."""
MOST_RETURNS = 16
"""How often in a row times may go back before a stretch is complete."""


class RateCheck:
    """Measures the rate of one stream, stretch by stretch, by the sensor's clock or by the arrival.

    Args:
        spec: The input of the model, with what the stream says of its payload.
    """

    def __init__(self, spec: SignalSpec) -> None:
        self._rate_hz = spec.input_rate_hz
        # Samples that are late at its edges, by late_s at most, must not count either.
        self._least_s = max(
            LEAST_S, LEAST_WINDOWS * spec.input_length / self._rate_hz, spec.late_s / MOST_OFF
        )
        self._late_s = spec.late_s
        self._suspicions = self._returns = 0
        self.problem: str | None = None
        """Why its windows cannot be right; None: nothing is known against them."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """Samples may be missing: what was measured so far says nothing."""
        self._began_s: float | None = None
        self._newest_s = 0.0
        self._samples = self._messages = 0

    def note(self, readings: Readings, arrived_at_s: float) -> None:
        """A message came, at that monotonic time."""
        has_times = readings.times_wall_s is not None
        at_s = arrived_at_s if readings.times_wall_s is None else float(readings.times_wall_s[-1])
        if self._began_s is None or not self._fits(at_s):
            self.begin_anew()
            self._began_s = self._newest_s = at_s
            return
        self._newest_s = max(self._newest_s, at_s)
        self._samples, self._messages = self._samples + len(readings), self._messages + 1
        elapsed_s = self._newest_s - self._began_s
        if elapsed_s >= self._least_s and self._messages >= LEAST_MESSAGES:
            self._judge(self._samples / elapsed_s, can_be_low=not has_times)
            self.begin_anew()
            self._began_s = self._newest_s = at_s

    def _fits(self, at_s: float) -> bool:
        """Whether a message continues the stretch: a pause ends it, and so does a time before its begin."""
        assert self._began_s is not None
        if at_s < self._newest_s - self._late_s - self._least_s:
            self._returns += 1
            if self._returns >= MOST_RETURNS:
                self.problem = "its times go to and fro; expected one sensor, with one clock, on this topic"
            return False
        return at_s <= self._newest_s + self._least_s

    def _judge(self, measured_hz: float, *, can_be_low: bool) -> None:
        ratio = measured_hz / self._rate_hz
        self._returns = 0
        is_wrong = ratio > 1 + MOST_OFF or (can_be_low and ratio < 1 - MOST_OFF)
        self._suspicions = self._suspicions + 1 if is_wrong else 0
        if self._suspicions >= NEEDED:
            self.problem = (
                f"{measured_hz:.4g} samples a second come; payload.rate_hz says {self._rate_hz:.4g}, "
                "and one sensor alone may send to its topic"
            )
        elif not is_wrong:
            self.problem = None
