"""The secrets among the environment's variables, and an environment without them for children that need none."""

from collections.abc import Iterator, Mapping
from urllib.parse import unquote

SECRET_PREFIX = "EDGE_"  # noqa: S105 - the name of variables, not a secret
_HEADERS = frozenset({"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"})
"""Of OpenTelemetry: ``NAME=VALUE,NAME=VALUE``, with percent-encoded values. A collector knows its callers by them."""


def secrets_in(env: Mapping[str, str]) -> frozenset[str]:
    """The values of all variables whose names begin with ``EDGE_``, and of the headers for a collector of traces."""
    own = {value for name, value in env.items() if name.startswith(SECRET_PREFIX) and value}
    return frozenset(own.union(*(_read_headers(env.get(name, "")) for name in _HEADERS)))


def _read_headers(text: str) -> Iterator[str]:
    """The values as they are written and sent, also without a word such as ``Bearer``."""
    for header in text.split(","):
        written = header.partition("=")[2].strip()
        sent = unquote(written)
        if sent.strip():
            yield from (written, sent, sent.split()[-1])


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """All other variables."""
    return {
        name: value
        for name, value in env.items()
        if not name.startswith(SECRET_PREFIX) and name not in _HEADERS
    }
