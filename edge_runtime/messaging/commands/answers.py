"""Answers to commands as they travel, and the words of those that no handler gives. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from edge_runtime.messaging.encoding import encode_object

REPEATED = (
    "transaction {transaction!r} was used before and is not obeyed again; its answer is not known any more: ask for "
    "the 'status', and use another transaction to have it done once more"
)
UNDER_WAY = "transaction {transaction!r} is under way and is answered when it is done; nothing more was done"
NOT_KEPT = "transaction {transaction!r} was answered with a picture, which is not kept; take another one"
TOO_LARGE = (
    "the answer has {size_bytes} bytes, the broker takes {room_bytes}, so it was not sent; ask for less (snapshot: "
    "max_side, quality; logs: lines), or raise the broker's limit (mosquitto: max_packet_size)"
)
UNEXPECTED = "the command failed unexpectedly; the device's log says why"
_OK = b'{"status":"ok"'
OFF = "commands are turned off in the configuration: mqtt.commands"


class Kind(StrEnum):
    """What an answer says, for those who tell it by a status."""

    DONE = "done"
    BAD = "bad"
    """Malformed, invalid, expired, or meant for another device."""
    UNKNOWN_VERB = "unknown verb"
    FORBIDDEN = "forbidden"
    TOO_MANY = "too many"
    UNDER_WAY = "under way"
    """A repetition of one that is answered later."""
    USED = "used"
    """Its transaction was used, and nothing was done."""
    REFUSED = "refused"
    """The device says no."""
    BROKEN = "broken"
    """It failed unexpectedly."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer to a request."""

    payload: bytes
    """JSON, as it travels."""
    kind: Kind

    @classmethod
    def of_kept(cls, payload: bytes) -> "Answer":
        """One that was given before, of which the bytes are left."""
        return cls(payload, Kind.DONE if payload.startswith(_OK) else Kind.REFUSED)


def encode_data(data: bytes, transaction: str | int | None) -> bytes:
    """An answer with data, which are JSON already."""
    return encode_object({"status": "ok", "data": orjson.Fragment(data), "transaction": transaction})


def encode_progress(data: Mapping[str, Any], transaction: str | int | None) -> bytes:
    """How far a command is that is answered later."""
    return encode_object({"status": "progress", "data": dict(data), "transaction": transaction})


def encode_error(text: str, transaction: str | int | None) -> bytes:
    """An answer that says no."""
    return encode_object({"status": "error", "error": text, "transaction": transaction})
