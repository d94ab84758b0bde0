"""Plain numbers of a sensor: what is read, and what is no number."""

import numpy as np
import pytest

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.specs import PayloadSpec


def read(data, **keys):
    return read_payload(data, PayloadSpec(format="raw", **keys), ("a", "b")).numbers


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32"])
def test_text_is_no_number_although_its_length_fits(kind):
    text = b"a,b\n" + b"0.12,0.3\n" * 20
    with pytest.raises(InputFlaw) as caught:
        read(text[: len(text) // 16 * 16], type=kind)
    assert caught.value.reason is RejectReason.BAD_ENCODING


@pytest.mark.parametrize(
    "kind", ["float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
)
def test_numbers_are_read_as_declared(kind):
    wanted = np.array([[1, 2], [65, 66], [3, 4]] * 10)
    found = read(wanted.astype(np.dtype(kind).newbyteorder("<")).tobytes(), type=kind)
    np.testing.assert_array_equal(found, wanted)
