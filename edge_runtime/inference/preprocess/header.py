"""What is known of an encoded picture before it is decoded."""

from dataclasses import dataclass


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
