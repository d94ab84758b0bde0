"""Whether the strips or tiles of a TIFF hold as many bytes as the picture needs.

OpenCV shows the rest of a strip that decompresses to less as black, without an error. Deflate and PackBits are counted
here; other compressions are not, LZW among them: counting those takes as long as ten times decoding.
"""

import zlib

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.header import Strips

PACK_BITS = 32773
DEFLATE = (8, 32946)
COUNTED = (*DEFLATE, PACK_BITS)
_PIECE_BYTES = 1 << 16
_MOST_RUNS = 4_000_000
"""Of PackBits: encoders write runs of up to 128 bytes, so this is 0.5 s of a file that wants to take time."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_strips(data: bytes, strips: Strips) -> None:
    """Decompress every strip without keeping it.

    Raises:
        InputFlaw: one is damaged or holds less than it should.
    """
    left = 2 * len(data) + _PIECE_BYTES * len(strips.places)  # strips may share bytes, but not many times
    for (at, size), needed in zip(strips.places, strips.needed, strict=True):
        body = data[at : min(at + size, at + left)]
        if strips.is_reversed:
            body = body.translate(_REVERSED)
        try:
            found, taken = (_unpack if strips.compression == PACK_BITS else _inflate)(body, needed)
        except zlib.error as err:
            raise InputFlaw(RejectReason.UNREADABLE, f"TIFF with damaged data at byte {at}: {err}") from err
        if found < needed:
            words = f"TIFF whose data at byte {at} holds {found} bytes of pixels; the picture needs {needed}"
            raise InputFlaw(RejectReason.TRUNCATED, words)
        left -= taken


def _inflate(body: bytes, needed: int) -> tuple[int, int]:
    """Bytes that come out, at least up to ``needed``, and bytes that went in."""
    inflater, found, taken = zlib.decompressobj(), 0, 0
    while found < needed and taken < len(body) and not inflater.eof:
        piece = body[taken : taken + _PIECE_BYTES]
        taken += len(piece)
        while piece and found < needed:
            found += len(inflater.decompress(piece, min(needed - found, 1 << 20)))
            piece = inflater.unconsumed_tail
    if not inflater.eof and found < needed:
        found += len(inflater.decompress(b"", needed - found))
    return found, taken


def _unpack(body: bytes, needed: int) -> tuple[int, int]:
    found = at = runs = 0
    while found < needed and at < len(body):
        count = body[at]
        if count < 128:
            found += min(count + 1, len(body) - at - 1)
            at += count + 2
        else:
            if count > 128:
                found += 257 - count if at + 1 < len(body) else 0
                at += 1
            at += 1
        runs += 1
        if runs > _MOST_RUNS:
            raise InputFlaw(RejectReason.UNSUPPORTED, f"TIFF of more than {_MOST_RUNS} runs of bytes")
    return found, at
