"""The first directory of a TIFF or BigTIFF, and of the EXIF block in other formats. Pure; nothing is decoded.

Two readers of one file must not see two pictures. So a tag that is there twice, or a size that is not a plain unsigned
number, is refused. OpenCV obeys orientation, white-is-zero and transparency for some kinds of pixels and not for
others: these three tags are made neutral for the decoder (``Header.patches``) and obeyed by ``decode``.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.header import Header, Strips
from edge_runtime.inference.preprocess.tiff_strips import COUNTED

_MOST_ENTRIES = 4096
_MOST_VALUES = 400_000  # of one tag: more strips or tiles than any picture within the limits has
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_UNSIGNED = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _ORIENTATION = 256, 257, 258, 259, 262, 273, 274
_SAMPLES, _SIZES_OF_STRIPS, _TILE_OFFSETS, _TILE_SIZES, _EXTRA, _FORMAT = 277, 279, 324, 325, 338, 339
_FILL_ORDER, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 266, 278, 284, 322, 323
_READ = (_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _ORIENTATION, _SAMPLES, _SIZES_OF_STRIPS,
         _TILE_OFFSETS, _TILE_SIZES, _EXTRA, _FORMAT, _FILL_ORDER, _ROWS, _PLANAR, _TILE_WIDTH,
         _TILE_HEIGHT)  # fmt: skip
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_LAYOUTS: dict[tuple[int, int], tuple[frozenset[int], int]] = {
    (_WHITE_IS_ZERO, 1): (frozenset({1, 8, 16}), 1),
    (_BLACK_IS_ZERO, 1): (frozenset({1, 8, 16}), 1),
    (_RGB, 3): (frozenset({8, 16}), 3),
    (_RGB, 4): (frozenset({8, 16}), 4),
    (_PALETTE, 1): (frozenset({1, 2, 4, 8}), 3),
    (_CMYK, 4): (frozenset({8}), 4),
    (_YCBCR, 3): (frozenset({8}), 3),
}
"""(kind of colour, samples of a pixel) -> the bits a sample may have, channels of the decoded picture."""
_ASSOCIATED, _STRAIGHT = 1, 2  # of the tag for extra samples


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    at: int
    """Offset of the first value."""


def exif_orientation(tiff: bytes) -> int:
    """Orientation 1..8 in an EXIF block (a TIFF structure); 1 when absent or damaged."""
    try:
        order, entries = _read_entries(tiff)
        for tag, entry in entries:
            if tag == _ORIENTATION and entry.kind == 3 and entry.count == 1:
                (value,) = struct.unpack_from(order + "H", tiff, entry.at)
                return int(value) if 1 <= value <= 8 else 1
    except (struct.error, InputFlaw):
        return 1
    return 1


def read_tiff_header(data: bytes) -> Header:
    """Header of a TIFF.

    Raises:
        InputFlaw: damaged, ambiguous, or pixels of a kind that is not read.
        struct.error: cut off inside its directory.
    """
    order, listed = _read_entries(data)
    entries: dict[int, _Entry] = {}
    for tag, entry in listed:
        if tag in entries:
            raise InputFlaw(RejectReason.UNREADABLE, f"TIFF with tag {tag} twice")
        entries[tag] = entry
    values = {tag: _unsigned(data, order, tag, entries[tag]) for tag in _READ if tag in entries}
    width, height = (_only(values, tag, name) for tag, name in ((_WIDTH, "width"), (_HEIGHT, "height")))
    _check_data(values, len(data))
    photometric, samples = _only(values, _PHOTOMETRIC, "kind of colour"), values.get(_SAMPLES, (1,))[0]
    bits = set(values.get(_BITS, (1,)))
    if photometric != _YCBCR:  # which may leave out colour samples
        _check_length(values, width * samples * max(bits, default=1), height)
    allowed, channels = _LAYOUTS.get((photometric, samples), (frozenset(), 0))
    if len(bits) != 1 or not bits <= allowed or set(values.get(_FORMAT, (1,))) != {1}:
        raise InputFlaw(RejectReason.UNSUPPORTED, _layout_words(photometric, samples, values))
    extra = values.get(_EXTRA, ())
    if len(extra) > 1 or (extra and extra[0] == _ASSOCIATED):
        found = "TIFF with premultiplied transparency, or several extra samples"
        raise InputFlaw(RejectReason.UNSUPPORTED, f"{found}; expected straight transparency or none")
    orientation = values.get(_ORIENTATION, (1,))
    is_turned = len(orientation) == 1 and 2 <= orientation[0] <= 8
    neutral = {_ORIENTATION: 1} if is_turned else {}
    neutral |= {_PHOTOMETRIC: _BLACK_IS_ZERO} if photometric == _WHITE_IS_ZERO else {}
    neutral |= {_EXTRA: 0} if extra else {}
    return Header(
        "tiff",
        width,
        height,
        bytes_per_pixel=channels * (2 if 16 in bits else 1),
        orientation=orientation[0] if is_turned else 1,
        has_unused_channel=photometric == _RGB and samples == 4 and extra != (_STRAIGHT,),
        is_inverted=photometric == _WHITE_IS_ZERO,
        strips=_find_strips(values, len(data), (width, height), samples, max(bits)),
        patches=tuple(
            (entries[tag].at, struct.pack(order + _UNSIGNED[entries[tag].kind], value))
            for tag, value in neutral.items()
        ),
    )


def _read_entries(data: bytes) -> tuple[str, Iterator[tuple[int, _Entry]]]:
    """The byte order, and the entries of the first directory by tag."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise InputFlaw(RejectReason.UNREADABLE, "TIFF without a byte order")
    (magic,) = struct.unpack_from(order + "H", data, 2)
    if magic == 42:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        return order, _walk(data, order, directory, "H", "I")
    if magic != 43:
        raise InputFlaw(RejectReason.UNSUPPORTED, "neither TIFF nor BigTIFF")
    width, _, directory = struct.unpack_from(order + "HHQ", data, 4)
    if width != 8:
        raise InputFlaw(RejectReason.UNREADABLE, "BigTIFF whose offsets do not have 8 bytes")
    return order, _walk(data, order, directory, "Q", "Q")


def _walk(data: bytes, order: str, directory: int, number: str, offset: str) -> Iterator[tuple[int, _Entry]]:
    _check_offset(directory, data)
    (count,) = struct.unpack_from(order + number, data, directory)
    if count > _MOST_ENTRIES:
        raise InputFlaw(RejectReason.UNREADABLE, f"TIFF directory of more than {_MOST_ENTRIES} entries")
    at, room = directory + struct.calcsize(order + number), struct.calcsize(order + offset)
    for start in range(at, at + count * (4 + 2 * room), 4 + 2 * room):
        tag, kind, length = struct.unpack_from(order + "HH" + offset, data, start)
        value_at = start + 4 + room
        if length * _SIZES.get(kind, 8) > room:
            (value_at,) = struct.unpack_from(order + offset, data, value_at)
        yield tag, _Entry(kind, length, value_at)


def _check_offset(at: int, data: bytes) -> None:
    if at >= len(data):  # also beyond what struct can take
        raise InputFlaw(RejectReason.TRUNCATED, f"TIFF data lies beyond the {len(data)} bytes of the file")


def _unsigned(data: bytes, order: str, tag: int, entry: _Entry) -> tuple[int, ...]:
    code = _UNSIGNED.get(entry.kind)
    if code is None:
        raise InputFlaw(
            RejectReason.UNSUPPORTED, f"TIFF tag {tag} of type {entry.kind}; expected an unsigned number"
        )
    if entry.count > _MOST_VALUES:
        raise InputFlaw(RejectReason.UNSUPPORTED, f"TIFF tag {tag} with more than {_MOST_VALUES} values")
    _check_offset(entry.at + entry.count * _SIZES[entry.kind] - 1, data)
    return struct.unpack_from(f"{order}{entry.count}{code}", data, entry.at)


def _only(values: dict[int, tuple[int, ...]], tag: int, name: str) -> int:
    found = values.get(tag, ())
    if len(found) != 1:
        raise InputFlaw(RejectReason.UNREADABLE, f"TIFF with {len(found)} values for its {name}; expected 1")
    return found[0]


def _check_data(values: dict[int, tuple[int, ...]], size: int) -> None:
    offsets = values.get(_OFFSETS) or values.get(_TILE_OFFSETS, ())
    sizes = values.get(_SIZES_OF_STRIPS) or values.get(_TILE_SIZES, ())
    if not offsets or any(at + length > size for at, length in zip(offsets, sizes, strict=False)):
        raise InputFlaw(RejectReason.TRUNCATED, f"TIFF data lies beyond the {size} bytes of the file")


def _check_length(values: dict[int, tuple[int, ...]], row_bits: int, height: int) -> None:
    """Refuse strips without compression that hold fewer rows than they should: OpenCV fills those with anything."""
    sizes = values.get(_SIZES_OF_STRIPS)
    if values.get(_COMPRESSION, (1,)) != (1,) or sizes is None or _TILE_OFFSETS in values:
        return
    row_bytes = -(-row_bits // 8)
    if sum(sizes) < row_bytes * height:
        needed = f"the picture needs {row_bytes * height}"
        raise InputFlaw(RejectReason.TRUNCATED, f"TIFF with {sum(sizes)} bytes of pixels; {needed}")


def _find_strips(
    values: dict[int, tuple[int, ...]], file_bytes: int, size: tuple[int, int], samples: int, bits: int
) -> Strips | None:
    """Those that ``tiff_strips`` can count."""
    compression = values.get(_COMPRESSION, (1,))
    is_counted = compression[0] in COUNTED and values[_PHOTOMETRIC] != (
        _YCBCR,
    )  # may leave out colour samples
    if not is_counted:
        return None
    (width, height), is_tiled = size, _TILE_OFFSETS in values
    is_planar = values.get(_PLANAR, (1,)) == (2,)
    planes, together = (samples, 1) if is_planar else (1, samples)
    if is_tiled:
        across, down = (
            _only(values, _TILE_WIDTH, "tiles' width"),
            _only(values, _TILE_HEIGHT, "tiles' height"),
        )
    else:
        across, down = width, min(height, *(values.get(_ROWS) or (height,)))
    if across < 1 or down < 1:
        raise InputFlaw(RejectReason.UNREADABLE, f"TIFF with parts of {across}x{down} pixels")
    offsets = values[_TILE_OFFSETS if is_tiled else _OFFSETS]
    sizes = values.get(_TILE_SIZES if is_tiled else _SIZES_OF_STRIPS, (file_bytes,) * len(offsets))
    count = -(-width // across) * -(-height // down)
    if min(len(offsets), len(sizes)) < count * planes:
        found = f"TIFF of {min(len(offsets), len(sizes))} strips or tiles; the picture needs {count * planes}"
        raise InputFlaw(RejectReason.TRUNCATED, found)
    row_bytes = -(-across * together * bits // 8)
    rows = [down] * count
    if not is_tiled:
        rows[-1] = height - down * (count - 1)
    return Strips(
        compression[0],
        is_reversed=values.get(_FILL_ORDER, (1,)) == (2,),
        places=tuple(zip(offsets, sizes, strict=False))[: count * planes],
        needed=tuple(row_bytes * one for one in rows) * planes,
    )


def _layout_words(photometric: int, samples: int, values: dict[int, tuple[int, ...]]) -> str:
    kinds = {1: "", 2: " signed", 3: " float"}
    number = kinds.get(values.get(_FORMAT, (1,))[0] if values.get(_FORMAT) else 1, " unknown")
    bits = "/".join(str(value) for value in sorted(set(values.get(_BITS, (1,))))[:4])
    names = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELAB"}
    colour = names.get(photometric, f"colour kind {photometric}")
    found = f"TIFF of {samples}{number} samples with {bits} bits, {colour}"
    return f"{found}; expected grey, RGB or RGBA with 8 or 16 bits, black and white, a palette, or CMYK or YCbCr with 8"
