"""How many requests came, by address or call and by the code of their answer; the server's thread alone counts."""

from collections import Counter


class RequestCounts:
    """What never happened has no count."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int | str]] = Counter()

    def add(self, route: str, code: int | str) -> None:
        """A request was answered."""
        self._counts[route, code] += 1

    def read(self) -> dict[tuple[str, int | str], int]:
        """By route and code; safe from any thread."""
        return dict(self._counts)
