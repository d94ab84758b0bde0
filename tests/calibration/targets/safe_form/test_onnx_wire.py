"""Bytes that two parsers of protobuf could read differently, and files that would read other files."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form.decide import make_safe, safe_onnx
from calibration.targets.safe_form.onnx_schema import MESSAGES
from calibration.targets.safe_form.onnx_wire import NotOnnx, TooDeep, read_onnx
from tests.support.bundle_models import small_model
from tests.support.paths import DEMO

PLAIN = small_model()


def varint(value: int, size: int = 0) -> bytes:
    """As protobuf writes it, or in ``size`` bytes, which is longer than needed."""
    out = []
    while value >= 0x80 or len(out) + 1 < size:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def packet(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


LOCATION = packet(13, packet(1, b"location") + packet(2, b"etc/passwd"))
WIDE_KEY = varint(13 << 3 | 2 | 1 << 32) + varint(3) + b"abc"


def tensor(rest: bytes) -> bytes:
    return number(1, 4) + number(2, 1) + packet(8, b"w") + rest


EXTERNAL_TENSORS = {
    "plain": tensor(LOCATION + number(14, 1)),
    "entries without a location": tensor(LOCATION),
    "a location without entries": tensor(number(14, 1)),
    "a place that there is not, later": tensor(LOCATION + number(14, 1) + number(14, 7)),
    "a place that there is not": tensor(number(14, 7)),
    "a place of 64 bits": tensor(LOCATION + number(14, 1 << 32 | 1)),
    "the inside first, then outside": tensor(number(14, 0) + number(14, 1)),
    "a key of more than 32 bits": tensor(WIDE_KEY + number(14, 1)),
    "a key that is longer than needed": tensor(varint(13 << 3 | 2, 4) + varint(3) + b"abc"),
    "a place in the form of a text": tensor(packet(14, b"\1")),
    "a place in the form of a fixed number": tensor(varint(14 << 3 | 5) + b"\1\0\0\0"),
    "entries as a number": tensor(number(13, 1)),
    "a negative place": tensor(number(14, (1 << 64) - 1)),
}
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "initializer": lambda one: packet(5, one),
    "sparse values": lambda one: packet(15, packet(1, one)),
    "sparse indices": lambda one: packet(15, packet(2, one)),
    "attribute": lambda one: packet(
        1, packet(4, b"Constant") + packet(5, packet(1, b"value") + packet(5, one))
    ),
    "attributes": lambda one: packet(1, packet(5, packet(10, one))),
    "sparse attribute": lambda one: packet(1, packet(5, packet(22, packet(1, one)))),
    "sparse attributes": lambda one: packet(1, packet(5, packet(23, packet(2, one)))),
    "subgraph": lambda one: packet(1, packet(5, packet(6, packet(5, one)))),
    "subgraphs": lambda one: packet(1, packet(5, packet(11, packet(5, one)))),
}


def in_graph(data: bytes) -> bytes:
    return number(1, 10) + packet(7, data) + packet(8, number(2, 17))


@pytest.mark.parametrize("kind", EXTERNAL_TENSORS)
@pytest.mark.parametrize("place", ["initializer", "sparse attribute"])
def test_no_tensor_may_lie_in_another_file(kind: str, place: str) -> None:
    with pytest.raises(ModelError):
        safe_onnx(in_graph(PLACES[place](EXTERNAL_TENSORS[kind])))


@pytest.mark.parametrize("place", PLACES)
def test_every_place_of_a_tensor_in_a_graph_is_seen(place: str) -> None:
    assert read_onnx(in_graph(PLACES[place](EXTERNAL_TENSORS["plain"]))).external == ["w"]


@pytest.mark.parametrize(
    "around",
    [
        lambda node: in_graph(b"") + packet(25, packet(7, node)),
        lambda node: in_graph(b"") + packet(20, packet(1, packet(1, node))),
        lambda node: in_graph(b"") + packet(20, packet(2, packet(1, node))),
        lambda node: in_graph(b"") + packet(25, packet(11, packet(5, EXTERNAL_TENSORS["plain"]))),
    ],
    ids=["function", "initialization", "training", "default of a function"],
)
def test_functions_and_training_are_seen(around: Callable[[bytes], bytes]) -> None:
    node = packet(4, b"Constant") + packet(5, packet(5, EXTERNAL_TENSORS["plain"]))
    assert read_onnx(around(node)).external == ["w"]


def sequences(depth: int) -> bytes:
    """A type: a sequence of sequences of ..."""
    inside = b""
    for _ in range(depth):
        inside = packet(4, packet(1, inside))
    return inside


ODD = {
    "no bytes": b"",
    "text": b"x" * 99,
    "a group": in_graph(varint(99 << 3 | 3) + varint(99 << 3 | 4)),
    "the end of a group": in_graph(varint(99 << 3 | 4)),
    "wire type 6": in_graph(varint(99 << 3 | 6)),
    "field number 0": in_graph(varint(2) + varint(0)),
    "two graphs": in_graph(b"") + packet(7, b""),
    "two operators of a node": in_graph(packet(1, packet(4, b"Relu") + packet(4, b"If"))),
    "an operator that is no UTF-8": in_graph(packet(1, packet(4, b"Rel\xff"))),
    "an operator as a number": in_graph(packet(1, number(4, 1))),
    "a graph as a number": number(7, 1),
    "a length that is longer than needed": number(1, 10) + varint(7 << 3 | 2) + varint(0, 3),
    "a length beyond the end": number(1, 10) + varint(7 << 3 | 2) + varint(9),
    "a length of 64 bits": number(1, 10) + varint(7 << 3 | 2) + varint(1 << 40),
    "a number of eleven bytes": b"\x08" + b"\xff" * 10 + b"\1",
    "a number of more than 64 bits": b"\x08" + b"\xff" * 9 + b"\x7f" + packet(7, b""),
    "a number without an end": in_graph(b"") + b"\x08\xff",
    "a type of 40 bits": in_graph(packet(5, number(2, 1 << 40))),
    "a fixed number that is cut": in_graph(packet(1, packet(5, varint(2 << 3 | 5) + b"\0"))),
    "a negative size": in_graph(packet(5, number(1, (1 << 64) - 1))),
    "a sparse tensor of 2**33 elements": in_graph(packet(15, number(3, 1 << 33))),
    "a sparse tensor of 2**60 elements in two axes": in_graph(packet(15, number(3, 1 << 30) + number(3, 1 << 30))),
    "packed sizes of 2**60 elements": in_graph(packet(5, packet(1, varint(1 << 30) + varint(1 << 30)))),
    "a name of 5000 bytes": in_graph(packet(1, packet(4, b"x" * 5000))),
    "200 sequences inside each other": in_graph(packet(11, packet(2, sequences(200)))),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    with pytest.raises(NotOnnx):
        read_onnx(ODD[name])


def test_control_flow_three_deep_passes_and_four_deep_does_not() -> None:
    def nested(depth: int) -> bytes:
        inner = b""
        for _ in range(depth):
            inner = packet(1, packet(4, b"If") + packet(5, packet(6, inner)))
        return in_graph(inner)

    assert read_onnx(nested(3)).operators["If"] == 3
    with pytest.raises(TooDeep):
        read_onnx(nested(4))


@pytest.mark.parametrize("operator", ["EPContext"])
def test_operators_that_stand_for_another_file_are_refused(operator: str) -> None:
    node = packet(4, operator.encode()) + packet(7, b"com.microsoft")
    with pytest.raises(ModelError, match="another file"):
        safe_onnx(in_graph(packet(1, node)))


def test_operators_domains_and_functions_are_listed() -> None:
    node = packet(4, b"Conv") + packet(7, b"com.microsoft.nchwc")
    model = in_graph(packet(1, node) + packet(1, packet(4, b"Relu") + packet(7, b"ai.onnx")))
    read = read_onnx(model + packet(25, packet(1, b"F") + packet(10, b"mine")))
    assert read.operators == {"Conv": 1, "Relu": 1}
    assert read.domains == {"com.microsoft.nchwc": "Conv", "": "Relu"}
    assert read.functions == {"mine"}


def test_unknown_fields_go_and_the_rest_stays() -> None:
    proto = onnx.load_from_string(PLAIN)
    graph = b"".join(
        [
            number(9999, 5),
            proto.graph.SerializeToString(),
            packet(500, b"later"),
            varint(77 << 3 | 5) + b"abcd",
        ]
    )
    proto.ClearField("graph")
    extended = proto.SerializeToString() + packet(7, graph) + varint(99 << 3 | 1) + bytes(8)
    found = read_onnx(extended).data
    assert onnx.load_from_string(found) == onnx.load_from_string(PLAIN)
    assert len(found) == len(PLAIN)


def test_a_file_of_known_fields_is_not_copied() -> None:
    model = (DEMO / "bundle" / "efficientnet-lite0" / "1" / "model.onnx").read_bytes()
    assert read_onnx(model).data is model


def everything() -> bytes:
    """A model with functions, sparse and packed tensors, all types of values and control flow."""
    node = helper.make_node
    body = helper.make_graph(
        [node("Add", ["x", "x"], ["y"])], "body", [], [helper.make_empty_tensor_value_info("y")]
    )
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(2, np.float32), "values"),
        numpy_helper.from_array(np.array([0, 3], np.int64), "indices"), [5],
    )  # fmt: skip
    strings = helper.make_tensor("words", TensorProto.STRING, [2], [b"\xff\xfe", b"b"])
    typed = [helper.make_tensor(str(kind), kind, [3], [1, 2, 3]) for kind in (1, 2, 3, 5, 6, 7, 9, 11, 13)]
    kinds = {
        "a": 1, "b": -2, "c": 1.5, "d": "text", "e": [1, -2], "f": [1.0, 2.0], "g": ["x", "y"], "h": body,
        "i": strings, "j": [body, body], "k": typed, "l": sparse,
    }  # fmt: skip
    types = [
        helper.make_value_info(
            "s", helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1, "n", None]))
        ),
        helper.make_value_info("o", helper.make_optional_type_proto(helper.make_tensor_type_proto(1, []))),
        helper.make_value_info("m", helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, [2]))),
    ]
    graph = helper.make_graph(
        [node("Odd", ["x"], ["y"], domain="mine", **kinds)], "g", types, [], [*typed, strings]
    )
    graph.sparse_initializer.append(sparse)
    function = helper.make_function(
        "mine", "Odd", ["x"], ["y"], [node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 17)], ["a"]
    )
    model = helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {"key": "value"})
    model.training_info.add().algorithm.CopyFrom(body)
    return bytes(model.SerializeToString())


def test_a_model_with_everything_stays_as_it_is() -> None:
    model = everything()
    assert read_onnx(model).data is model


def test_the_table_of_fields_is_that_of_the_onnx_package() -> None:
    kinds = {
        FieldDescriptor.TYPE_INT64: "int64", FieldDescriptor.TYPE_UINT64: "uint64", FieldDescriptor.TYPE_INT32: "int32",
        FieldDescriptor.TYPE_ENUM: "enum", FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_DOUBLE: "double",
        FieldDescriptor.TYPE_STRING: "bytes", FieldDescriptor.TYPE_BYTES: "bytes",
    }  # fmt: skip
    pairs: list[tuple[str, Descriptor]] = [("model", onnx.ModelProto.DESCRIPTOR)]
    for ours, theirs in pairs:
        table: dict[int, Any] = MESSAGES[ours]  # type: ignore[index]
        for one in theirs.fields:
            known = table[one.number]
            if one.message_type is None:
                assert known.kind == kinds[one.type], (ours, one.name)
            elif (known.kind, one.message_type) not in pairs:
                pairs.append((known.kind, one.message_type))
            assert known.is_repeated == one.is_repeated, (ours, one.name)
    assert {ours for ours, _ in pairs} == MESSAGES.keys()


def without_tensors(proto: Any) -> list[Any]:
    return [list(proto.graph.node), list(proto.functions), [one.name for one in proto.graph.initializer]]


def outside(message: Any) -> bool:
    """Whether a tensor anywhere in a parsed message has its data in another file."""
    if message.DESCRIPTOR.name == "TensorProto" and (message.data_location or message.external_data):
        return True
    inside = (value for field, value in message.ListFields() if field.message_type is not None)
    flat = (one for value in inside for one in (value if hasattr(value, "__len__") else [value]))
    return any(outside(one) for one in flat)


SEEDS = [PLAIN, in_graph(PLACES["initializer"](EXTERNAL_TENSORS["plain"])), everything()]
SPLICES = [
    b"",
    LOCATION,
    number(14, 1),
    WIDE_KEY,
    number(14, 1 << 32 | 1),
    varint(0, 3),
    b"\xff",
    packet(5, b""),
]


@pytest.mark.integration
@settings(max_examples=700, deadline=None)
@given(st.data())
def test_no_mutant_is_read_otherwise_by_the_onnx_package(data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS))
    mutant = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        instead = data.draw(st.one_of(st.sampled_from(SPLICES), st.binary(max_size=3)))
        mutant[at : at + data.draw(st.integers(0, 3))] = instead
    try:
        safe = safe_onnx(bytes(mutant))
    except ModelError:
        return
    try:
        read = onnx.load_from_string(safe.data)
    except DecodeError:  # numbers inside a packet, say: refused by every engine
        return
    assert not outside(read)
    assert sum(safe.operators.values()) >= len(read.graph.node)
    original = onnx.load_from_string(bytes(mutant))
    assert without_tensors(read) == without_tensors(original) or len(safe.data) != len(mutant)


@pytest.mark.integration
def test_the_safe_form_answers_like_the_file() -> None:
    extended = PLAIN + packet(999, b"later")
    safe = make_safe(ModelFiles(extended)).files.data
    assert safe != extended
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    answers = [onnxruntime.InferenceSession(model).run(None, {"image": x})[0] for model in (extended, safe)]
    np.testing.assert_array_equal(*answers)
