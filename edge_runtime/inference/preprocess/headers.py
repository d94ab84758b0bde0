"""Reads the header of an encoded picture before any decoder sees it: format, size, orientation, completeness.

A 12 KB PNG can ask for 286 MiB and a truncated one decodes to half a picture without an error, so the size comes
from the header and the structure (chunk checksums, end markers, strip offsets) is checked here. Only the formats
below are let through to a decoder. Pure; nothing is decoded.
"""

import struct
from collections.abc import Callable

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.foreign import name_foreign
from edge_runtime.inference.preprocess.header import Header
from edge_runtime.inference.preprocess.jpeg_header import read_jpeg_header
from edge_runtime.inference.preprocess.netpbm import is_netpbm, read_netpbm_header
from edge_runtime.inference.preprocess.png_header import read_png_header
from edge_runtime.inference.preprocess.tiff_header import read_tiff_header
from edge_runtime.inference.preprocess.webp_header import read_webp_header


def read_header(data: bytes) -> Header:
    """Header of an encoded picture.

    Raises:
        InputFlaw: empty, a format that is not let through, damaged, or shorter than it says.
    """
    if not data:
        raise InputFlaw(RejectReason.EMPTY, "0 bytes")
    for matches, parse in _PARSERS:
        if matches(data):
            try:
                header = parse(data)
            except (struct.error, IndexError) as err:
                raise InputFlaw(
                    RejectReason.TRUNCATED, f"ends inside its header after {len(data)} bytes"
                ) from err
            if header.width < 1 or header.height < 1:
                raise InputFlaw(
                    RejectReason.UNREADABLE, f"{header.kind} of {header.width}x{header.height} pixels"
                )
            return header
    raise InputFlaw(RejectReason.UNSUPPORTED, name_foreign(data))


def _bmp(data: bytes) -> Header:
    offset, info_bytes = struct.unpack_from("<II", data, 10)
    if info_bytes < 40:
        raise InputFlaw(
            RejectReason.UNSUPPORTED, f"BMP with a header of {info_bytes} bytes; expected 40 or more"
        )
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression not in (0, 3):
        raise InputFlaw(RejectReason.UNSUPPORTED, f"BMP with compression {compression}; expected none")
    needed = offset + (max(width, 0) * bits + 31) // 32 * 4 * abs(height)
    if len(data) < needed:
        raise InputFlaw(RejectReason.TRUNCATED, f"BMP of {len(data)} bytes; its header needs {needed}")
    has_alpha = info_bytes >= 56 and compression == 3 and data[66:70] != bytes(4)
    return Header(
        "bmp",
        width,
        abs(height),
        bytes_per_pixel=4 if bits == 32 else 3,
        has_unused_channel=bits == 32 and not has_alpha,
    )


_PARSERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Header]], ...] = (
    (lambda data: data[:3] == b"\xff\xd8\xff", read_jpeg_header),
    (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", read_png_header),
    (lambda data: data[:2] == b"BM", _bmp),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", read_webp_header),
    (lambda data: data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), read_tiff_header),
    (is_netpbm, read_netpbm_header),
)
