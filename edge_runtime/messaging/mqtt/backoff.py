"""How long to wait before the next connection to the broker. Pure: what happened in, seconds out.

An attempt to reach a broker that is away is cheap: it is made every few seconds, so that the device is back soon after
it. A broker that answers and refuses, or that ends sessions soon after they began, is given more and more time:
two devices with one client id end each other's sessions for ever, and a message may end every session.
"""

from dataclasses import dataclass

from edge_runtime.system.supervised_thread import pause_s

LASTING_S = 150.0
"""Longer than the longest pause: of two devices with one client id neither believes that it has won."""
FORGIVEN_S = 30.0
"""A session that lasted this long makes up for one that was ended."""
ENDED_OFTEN = 3


@dataclass(slots=True)
class Backoff:
    """The pauses of one client, before jitter."""

    first_s: float
    longest_away_s: float
    longest_s: float
    _away: int = 0
    _refused: int = 0
    _ended: int = 0

    @property
    def is_ended_often(self) -> bool:
        """Whether the broker keeps ending sessions."""
        return self._ended >= ENDED_OFTEN

    def after_unreachable(self) -> float:
        """Nothing answered, or nothing that speaks MQTT."""
        self._away, self._refused, self._ended = self._away + 1, 0, 0
        return pause_s(self._away, self.first_s, self.longest_away_s)

    def after_refusal(self) -> float:
        """The broker answered and refused the connection."""
        self._away, self._refused = 0, self._refused + 1
        return pause_s(self._refused, self.first_s, min(self.longest_s, 30.0))

    def after_session(self, lasted_s: float, *, is_ended_by_broker: bool) -> float:
        """A session has ended.

        Args:
            lasted_s: Since the broker accepted it; 0 when it never acknowledged anything.
            is_ended_by_broker: False when the network failed, or the broker did not answer.
        """
        self._away = self._refused = 0
        forgiven = self._ended if lasted_s >= LASTING_S else int(lasted_s // FORGIVEN_S)
        self._ended = max(0, self._ended - forgiven) + int(is_ended_by_broker)
        return pause_s(max(1, self._ended), self.first_s, self.longest_s)
