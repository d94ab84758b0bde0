"""Why a request is not done, as an HTTP answer."""

from collections.abc import Iterable, Mapping

RETRY_AFTER_S = 1


class Refusal(Exception):
    """Ends a request with a status and a sentence for its caller."""

    def __init__(self, code: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self.code, self.text, self.headers = code, text, dict(headers or {})
        super().__init__(text)

    def bare(self) -> "Refusal":
        """The same for one who keeps it. One that was raised keeps its frames, and with them the request."""
        return Refusal(self.code, self.text, self.headers)


def full() -> Refusal:
    """No room for another one just now. A function, since one exception that is raised again keeps all its frames."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return Refusal(429, "as many requests as may be are under way; try again", headers)


def ended() -> Refusal:
    """Nothing will answer."""
    return Refusal(503, "the device stops, or the model was taken out of its configuration")


def late() -> Refusal:
    """The deadline has passed."""
    return Refusal(504, "no answer in time (http.predict.timeout_s)")


def slow() -> Refusal:
    """The body did not come."""
    return Refusal(408, "the request did not come in time")


def failed() -> Refusal:
    """Something happened that nobody foresaw."""
    return Refusal(500, "this request failed; the log of the device says why")


def no_model(name: str | None, models: Iterable[str]) -> Refusal:
    """Of a name that no model has, or of no name where there are several."""
    known = ", ".join(sorted(models))
    if not known:
        return Refusal(503, "no model runs on this device; /healthz says why")
    found = "name a model" if name is None else f"no model {name[:64]!r}"
    return Refusal(404, f"{found}; this device has: {known}")


def too_large(most_bytes: int, key: str) -> Refusal:
    """Of a body that is longer than is taken."""
    return Refusal(413, f"more than {most_bytes} bytes; at most so many are taken ({key})")
