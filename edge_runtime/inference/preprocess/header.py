"""What is known of an encoded picture before it is decoded, and the one error for what cannot be used."""

from dataclasses import dataclass

from edge_runtime.datatypes import RejectReason

MOST_WORDS = 300
"""Characters of a reason; names of files and words of a decoder go into it, and both come from outside."""


class PictureFlaw(Exception):
    """A picture or tensor that cannot be used; ``prepare`` turns it into a ``Rejected`` value.

    ``detail`` never quotes the content: a link in a watched folder may point at a secret file.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason, self.detail = reason, shorten(detail)
        super().__init__(f"{reason}: {self.detail}")


def shorten(words: str) -> str:
    """At most ``MOST_WORDS`` characters, the middle left out."""
    if len(words) <= MOST_WORDS:
        return words
    half = (MOST_WORDS - 5) // 2
    return f"{words[:half]} ... {words[-half:]}"


@dataclass(frozen=True, slots=True)
class Strips:
    """Where the compressed pixels of a TIFF are, and how many there have to be."""

    compression: int
    is_reversed: bool
    """The bits of each byte are in the other order."""
    places: tuple[tuple[int, int], ...]
    """(offset, size in bytes) of every strip or tile that the picture is made of."""
    needed: tuple[int, ...]
    """Bytes that each decompresses to."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an encoded picture, and what the decoder shall not decide by itself."""

    kind: str
    """jpeg, png, bmp, webp, tiff or netpbm."""
    width: int
    """Pixels as stored, before the orientation is applied."""
    height: int
    bytes_per_pixel: int = 3
    """Of the array that the decoder makes."""
    orientation: int = 1
    """EXIF orientation 1..8."""
    has_unused_channel: bool = False
    """The fourth channel is declared to be something else than transparency."""
    is_inverted: bool = False
    """0 is white. The decoder gets ``patches`` and gives the samples as they are stored."""
    transparent_level: int | None = None
    """The grey level of the decoded samples that stands for "nothing here"."""
    patches: tuple[tuple[int, bytes], ...] = ()
    """(offset, bytes) to put into the file before it is decoded: tags that only some decoders obey, and only for some
    kinds of pixels, are made neutral there and obeyed here."""
    parts: tuple[tuple[int, int], ...] = ()
    """(start, end) of the bytes that the decoder gets, joined; none: all bytes."""
    strips: Strips | None = None
    """What is to be checked once the size is within the limits."""
