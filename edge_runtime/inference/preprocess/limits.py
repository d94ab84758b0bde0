"""How large a picture may be; checked on its header, before memory is spent on it."""

from dataclasses import dataclass

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw

MOST_SIDE = 65_535
"""Pixels of one side: the most that a JPEG can have. Resize filters need memory in proportion to the longest side."""
LEAST_SIDE = 4  # below this there is nothing to see
_BYTES_A_PIXEL = 4
"""The memory of a decoded picture is bounded by that of the largest one with 8 bits and 4 channels."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Larger pictures are refused. Section ``pictures`` of the configuration sets them for the daemon's cameras."""

    max_pixels: int = 50_000_000
    max_bytes: int = 64 * 1024 * 1024
    """Of the encoded picture."""

    def check_bytes(self, size: int) -> None:
        """Refuse a file or message that is too long.

        Raises:
            InputFlaw: it is so.
        """
        if size > self.max_bytes:
            allowed = f"at most {self.max_bytes} are taken (pictures.max_file_mib)"
            raise InputFlaw(RejectReason.TOO_LARGE, f"{size} bytes; {allowed}")

    def check_size(self, width: int, height: int, bytes_per_pixel: int = 1) -> None:
        """Refuse a picture with too many or too few pixels, or of too many bytes once it is decoded.

        Raises:
            InputFlaw: it is so.
        """
        shown = f"{width}x{height} pixels"
        if width * height > self.max_pixels:
            allowed = f"at most {self.max_pixels / 1e6:g} million are taken (pictures.max_megapixels)"
            raise InputFlaw(RejectReason.TOO_LARGE, f"{shown}; {allowed}")
        if max(width, height) > MOST_SIDE:
            allowed = f"a side may have at most {MOST_SIDE}: cut the picture into parts"
            raise InputFlaw(RejectReason.TOO_LARGE, f"{shown}; {allowed}")
        if width * height * bytes_per_pixel > self.max_pixels * _BYTES_A_PIXEL:
            most = self.max_pixels * _BYTES_A_PIXEL / 1e6
            allowed = f"at most {most:g} million bytes are taken (4 for each of pictures.max_megapixels)"
            raise InputFlaw(
                RejectReason.TOO_LARGE, f"{shown} of {bytes_per_pixel} bytes when decoded; {allowed}"
            )
        if min(width, height) < LEAST_SIDE:
            raise InputFlaw(RejectReason.TOO_SMALL, f"{shown}; each side needs {LEAST_SIDE}")
