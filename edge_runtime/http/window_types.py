"""Content types of windows of sensors, by the format that a bundle declares. Pure."""

from collections.abc import Mapping, Sequence

from edge_runtime.inference.specs.signals import PayloadFormat
from edge_runtime.serving.refusals import Refusal

CONTENT_TYPES: Mapping[PayloadFormat, Sequence[str]] = {
    "json": ("application/json",),
    "csv": ("text/csv",),
    "cbor": ("application/cbor",),
    "msgpack": ("application/msgpack", "application/vnd.msgpack", "application/x-msgpack"),
}
"""The first one is registered or usual; raw numbers and array files have none, and come as any other type."""


def check_window_type(content_type: str, declared: PayloadFormat) -> None:
    """Refuse a body that says to be in another format than its model takes; types of no format say nothing.

    Raises:
        Refusal: it does.
    """
    said = next((name for name, types in CONTENT_TYPES.items() if content_type in types), declared)
    if said != declared:
        raise Refusal(415, f"{content_type}; this model takes {declared} (preprocess.payload.format)")
