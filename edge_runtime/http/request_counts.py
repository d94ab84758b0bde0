"""How many requests came over HTTP, by address and by the code of their answer; the server's thread alone counts."""

from collections import Counter


class RequestCounts:
    """What never happened has no count."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()

    def add(self, route: str, code: int) -> None:
        """A request was answered."""
        self._counts[route, code] += 1

    def read(self) -> dict[tuple[str, int], int]:
        """By route and code; safe from any thread."""
        return dict(self._counts)
