"""Which frames a candidate answers in canary: whole streams, or a share of all by a stable hash. Pure.

The same frame goes to the same arm on every box and after every restart, and the frames of one second are spread over
both arms.
"""

import hashlib
from collections.abc import Callable, Collection

Takes = Callable[[str, int], bool]


def take_none(stream: str, seq: int) -> bool:  # noqa: ARG001 - the form that a trial asks for
    """No frame."""
    return False


def take_all(stream: str, seq: int) -> bool:  # noqa: ARG001 - the form that a trial asks for
    """Every frame."""
    return True


def take_share(share: float, streams: Collection[str] = ()) -> Takes:
    """Every frame of these streams; without any, a share 0..1 of the frames of all."""
    if streams:
        chosen = frozenset(streams)
        return lambda stream, seq: stream in chosen  # noqa: ARG005
    limit = round(share * 2**32)

    def takes(stream: str, seq: int) -> bool:
        digest = hashlib.blake2b(f"{stream}/{seq}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) < limit

    return takes
