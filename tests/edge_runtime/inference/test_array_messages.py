"""Arrays in ``.npy``: taken by what their type declares, refused otherwise; no header makes their reader fail."""

import random
import struct
import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.datatypes import Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import read_npy
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.specs import PictureSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def spec(**changes: Any) -> PictureSpec:
    fields: dict[str, Any] = {
        "colour": "rgb", "width": 16, "height": 12, "geometry": "stretch", "filter": "area",
        "mean": (127, 127, 127), "std": (64, 64, 64),
    }  # fmt: skip
    return PictureSpec(**{**fields, **changes})


LEVELS = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def npy(array: Any, **options: Any) -> bytes:
    file = BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def answer(
    payload: Any, the_spec: PictureSpec | None = None, colour: Any = None, **more: Any
) -> Sample | Rejected:
    return PicturePreprocessor(the_spec or spec()).prepare(
        Frame("s", 1, payload, 0.0, 0.0, colour=colour, **more)
    )


def tensor(payload: Any, the_spec: PictureSpec | None = None, colour: Any = None) -> NDArray[np.float32]:
    found = answer(payload, the_spec, colour)
    assert isinstance(found, Sample), found
    return found.tensor


def test_an_array_of_bytes_is_a_picture_in_the_declared_channel_order() -> None:
    wanted = answer(PIXELS, colour="rgb")
    assert isinstance(wanted, Sample)
    np.testing.assert_array_equal(tensor(npy(PIXELS), colour="rgb"), wanted.tensor)
    np.testing.assert_array_equal(tensor(npy(PIXELS[..., ::-1]), colour="bgr"), wanted.tensor)
    assert wanted.values is not None


DEEP = PIXELS.astype(np.uint16) * np.uint16(257)


@pytest.mark.parametrize(
    "same",
    [
        np.asfortranarray(PIXELS),
        DEEP,
        DEEP.astype(">u2"),
        np.dstack([PIXELS, np.full((24, 32), 255, np.uint8)]),
    ],
    ids=["fortran", "16 bits", "big endian", "alpha"],
)
def test_the_same_picture_in_other_memory_is_the_same(same: NDArray[Any]) -> None:
    np.testing.assert_array_equal(tensor(npy(same), colour="rgb"), tensor(npy(PIXELS), colour="rgb"))


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 1), (24, 32, 2)])
def test_grey_needs_no_channel_order(shape: tuple[int, ...]) -> None:
    assert tensor(npy(np.full(shape, 255, np.uint8))).shape == (3, 12, 16)


def test_colours_in_an_order_that_nothing_declares_are_refused() -> None:
    found = answer(npy(PIXELS))
    assert isinstance(found, Rejected)
    assert found.reason is RejectReason.UNSUPPORTED
    assert "cameras.NAME.colour" in found.detail


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_are_prepared_tensors(dtype: str, order: Any) -> None:
    values = np.linspace(-2, 2, 3 * 12 * 16).reshape(3, 12, 16)
    array = np.asarray(values, dtype=dtype, order=order)
    np.testing.assert_array_equal(tensor(npy(array)), array.astype(np.float32))
    np.testing.assert_array_equal(tensor(npy(array[None])), array.astype(np.float32))


def test_planes_of_levels_are_a_tensor_only_for_a_model_that_takes_levels() -> None:
    planes = np.random.default_rng(1).integers(0, 256, (3, 12, 16), np.uint8)
    np.testing.assert_array_equal(tensor(npy(planes), spec(**LEVELS)), planes.astype(np.float32))
    refused = answer(npy(planes))
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.BAD_SHAPE
    assert "swapped" in refused.detail


def test_a_picture_for_a_model_that_takes_levels_channels_last_is_prepared() -> None:
    last = spec(layout="nhwc", **LEVELS)
    small = PIXELS[:12, :16]
    np.testing.assert_array_equal(tensor(npy(small), last, colour="rgb"), small.astype(np.float32))
    np.testing.assert_array_equal(tensor(npy(small), last, colour="bgr"), small[..., ::-1].astype(np.float32))


MODEL = (3, 12, 16)


@pytest.mark.parametrize(("array", "reason"), [
    (np.zeros(MODEL, np.int8), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, np.int16), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, np.int32), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, np.int64), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, np.uint32), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, np.uint64), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, bool), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, np.complex64), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, "<U2"), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, "M8[s]"), RejectReason.UNREADABLE),
    (np.zeros((12, 16, 3), np.int64), RejectReason.BAD_DTYPE),
    (np.zeros(MODEL, np.uint16), RejectReason.BAD_SHAPE),
    (np.zeros((12, 16, 3), np.float32), RejectReason.BAD_SHAPE),
    (np.zeros((24, 32), np.float32), RejectReason.BAD_SHAPE),
    (np.zeros((2, 3, 12, 16), np.float32), RejectReason.BAD_SHAPE),
    (np.zeros((1, 24, 32, 3), np.uint8), RejectReason.BAD_SHAPE),
    (np.zeros(99, np.uint8), RejectReason.BAD_SHAPE),
    (np.zeros((0, 3), np.uint8), RejectReason.EMPTY),
    (np.zeros((3, 32, 3), np.uint8), RejectReason.TOO_SMALL),
    (np.zeros((1, 70_000), np.uint8), RejectReason.TOO_LARGE),
    (np.zeros((), np.uint8), RejectReason.BAD_SHAPE),
    (np.float32(1), RejectReason.BAD_SHAPE),
])  # fmt: skip
def test_every_other_array_is_refused_with_its_reason(array: Any, reason: RejectReason) -> None:
    found = answer(npy(array), colour="rgb")
    assert isinstance(found, Rejected)
    assert found.reason is reason


def test_whole_numbers_as_a_prepared_tensor_are_refused() -> None:
    for dtype in (np.uint8, np.int32):
        found = answer(np.zeros(MODEL, dtype), is_tensor=True)
        assert isinstance(found, Rejected)
        assert found.reason is RejectReason.BAD_DTYPE


def with_header(header: bytes, version: int = 1, values: bytes = b"") -> bytes:
    body = header + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(body))
    return b"\x93NUMPY" + bytes([version, 0]) + length + body + values


def entries(descr: str = "'<f4'", shape: str = "(1,)") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()


HEADERS = {
    "keys of mixed type": b"{1: 2, 'a': 3}", "unhashable key": b"{[]: 1}", "no dictionary": b"[1]", "a set": b"{1,2}",
    "a call": b"__import__('os').system('id')", "open brackets": b"(" * 3000, "syntax": b"{'descr': ",
    "bytes as keys": b"{b'descr': 1, 'x': 2}", "formatted": b"f'{1}'", "no text": bytes(range(128, 255)),
    "huge shape": entries(shape="(9" + "9" * 40 + ",)"), "huge product": entries(shape="(999999999999, 999999999999)"),
    "shape of text": entries(shape="'x'"), "shape of truth": entries(shape="(True,)"),
    "shape of signs": entries(shape="(" + "-" * 2000 + "1,)"), "negative shape": entries(shape="(-1,)"),
    "complex shape": entries(shape="(1+2j,)"), "shape with gaps": entries(shape="(1,,1)"),
    "nine axes": entries(shape="(1, 1, 1, 1, 1, 1, 1, 1, 1)"), "digits": entries(shape="(" + "9" * 3000 + ",)"),
    "number as type": entries("5"), "no type": entries("[]"), "record": entries("[('a', '<f4')]"),
    "nested record": entries("[('a', [('b', '<f4')])]"), "pair": entries("('<f4', (1,))"), "object": entries("'|O'"),
    "long text": entries("'<U99999999999'"), "nul": entries("'<f4\x00'"), "list of types": entries("'f4,f4'"),
    "sub-array": entries("'(999999999,999999999)f4'"), "unit": entries("'<M8[xx]'"), "void": entries("'|V4'"),
    "half a type": entries("'<f'"), "three bytes": entries("'<i3'"), "twice": entries().replace(b"shape", b"descr"),
    "too long": entries() + b" " * 5000,
}  # fmt: skip


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_a_reason_and_no_other_exception(name: str, version: int) -> None:
    payload = with_header(HEADERS[name], version, b"\x00" * 4)
    with pytest.raises(InputFlaw):
        read_npy(payload)
    assert isinstance(answer(payload), Rejected)


@pytest.mark.parametrize("header", [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          ",
    b'{"shape": (2,3), "fortran_order": False, "descr": "<f4"}',
    b"{ 'fortran_order':False,'descr':'<f4','shape':(2,3,) } ",
])  # fmt: skip
def test_the_header_may_be_written_in_another_way(header: bytes) -> None:
    values = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(read_npy(with_header(header, 2, values.tobytes())), values.reshape(2, 3))


@pytest.mark.parametrize(
    "payload",
    [b"\x93NUMPY", b"\x93NUMPY\x01\x00\x05\x00{'sha", b"\x93NUMPY\x09\x00" + bytes(20), npy(np.zeros(3))[:-1],
     npy(np.zeros(3)) + b"x"],
)  # fmt: skip
def test_an_array_that_is_cut_or_too_long_is_refused(payload: bytes) -> None:
    found = answer(payload)
    assert isinstance(found, Rejected)
    assert found.reason in (RejectReason.UNREADABLE, RejectReason.TRUNCATED)


def test_a_header_that_lies_about_its_size_allocates_nothing() -> None:
    lie = npy(np.zeros(16, np.float32)).replace(b"(16,)", b"(9999999999,)")
    tracemalloc.start()
    assert isinstance(answer(lie), Rejected)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_damaged_arrays_never_raise() -> None:
    rng, good = random.Random(5), npy(np.zeros((3, 8, 8), np.float32))
    for _ in range(3000):
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            bad[rng.randrange(6, 130)] = rng.randrange(256)
        try:
            array = read_npy(bytes(bad))
        except InputFlaw:
            continue
        assert array.nbytes <= len(good)
