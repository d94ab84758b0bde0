"""The XML of an IR: what OpenVINO's lenient parser could read otherwise, and what reaches outside the two files."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form import ir
from calibration.targets.safe_form.decide import make_safe
from calibration.targets.safe_form.ir import NotIr, rewrite_ir

WEIGHTS = 64
HEAD, END = '<?xml version="1.0"?>\n<net name="n" version="11">', "</net>"


def const(**changes: str) -> str:
    given = {"element_type": "f32", "shape": "2, 8", "offset": "0", "size": "64"} | changes
    data = "".join(f' {key}="{value}"' for key, value in given.items())
    return f'<layer id="{len(data)}" name="c" type="Const" version="opset1"><data{data} /></layer>'


def net(layers: str = "", rest: str = "") -> bytes:
    return f"{HEAD}<layers>{layers}</layers><edges>{rest}</edges>{END}".encode()


PORT = (
    '<layer id="1" name="p" type="Parameter" version="opset1"><output><port id="0">{}</port></output></layer>'
)
GOOD = net(
    const() + PORT.format("<dim>-1</dim><dim>3</dim>") + const(shape="", size="4"),
    '<edge from-layer="0" from-port="0" to-layer="1" to-port="0" />',
)


def test_an_ir_stays_what_it_is() -> None:
    written = rewrite_ir(GOOD, WEIGHTS)
    before, after = ET.fromstring(GOOD), ET.fromstring(written)
    assert [(one.tag, one.attrib) for one in before.iter()] == [(one.tag, one.attrib) for one in after.iter()]
    assert [one.text for one in before.iter("dim")] == [one.text for one in after.iter("dim")] == ["-1", "3"]
    assert rewrite_ir(written, WEIGHTS) == written


@pytest.mark.parametrize("value", ["a&amp;b", "a&lt;b", "&quot;", "&#10;x", "&#9;", "ü", "'", "&quot;'"])
def test_odd_characters_of_names_are_kept(value: str) -> None:
    text = f'{HEAD}<layers><layer id="1" name="{value}" type="x"/></layers>{END}'.encode()
    names = [ET.fromstring(form).find("layers/layer") for form in (text, rewrite_ir(text, 0))]
    assert names[0] is not None
    assert names[1] is not None
    assert names[0].attrib == names[1].attrib


@pytest.mark.parametrize(
    ("element_type", "shape", "size"),
    [
        ("u4", "3", 2), ("i4", "2, 2", 2), ("u1", "9", 2), ("bf16", "4", 8), ("boolean", "1", 1), ("f32", "0", 1),
        ("i64", "", 8), ("string", "1", 9), ("u3", "8", 3), ("f64", "0, 4", 0),
    ],
)  # fmt: skip
def test_constants_of_all_types_are_taken(element_type: str, shape: str, size: int) -> None:
    given = net(const(element_type=element_type, shape=shape, size=str(size)))
    found = [ET.fromstring(form).find("layers/layer/data") for form in (rewrite_ir(given, WEIGHTS), given)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].attrib == found[1].attrib


REFUSED: dict[str, bytes] = {
    "no bytes": b"",
    "another root": b"<model/>",
    "a net in another element": b"<a><net version='11'/></a>",
    "a net in a net": f"{HEAD}<net version='11'/>{END}".encode(),
    "two roots": GOOD + GOOD.partition(b"\n")[2],
    "bytes behind it": GOOD + b"garbage",
    "NUL in it": GOOD.replace(b"<edges>", b"<edges>\0"),
    "cut": GOOD[:-3],
    "no version": GOOD.replace(b' version="11"', b""),
    "a version that is no number": GOOD.replace(b'version="11"', b'version="0x11"'),
    "a version of the future": GOOD.replace(b'version="11"', b'version="999999"'),
    "a document type": GOOD.replace(b"<net", b"<!DOCTYPE net><net", 1),
    "an entity of a file": GOOD.replace(
        b"<net", b'<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net', 1
    ),
    "a bomb of entities": GOOD.replace(
        b"<net", b'<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><net', 1
    ),
    "an entity that is not declared": GOOD.replace(b'name="n"', b'name="&a;"'),
    "an attribute twice": GOOD.replace(b'name="n"', b'name="n" name="m"'),
    "no UTF-8": GOOD.replace(b'name="n"', b'name="\xff"'),
    "an id twice": net('<layer id="1" type="a"/><layer id="1" type="b"/>'),
    "a layer without an id": net('<layer type="a"/>'),
    "an id that is no number": net('<layer id="-1" type="a"/>'),
    "an extension": net('<layer id="1" type="a" version="extension"/>'),
    "a constant behind the weights": net(const(offset="1")),
    "a constant of 2**63 bytes": net(const(size=str(2**63))),
    "a negative offset": net(const(offset="-64")),
    "a place in another base": net(const(offset="0x0")),
    "a constant without a size": net(const(size="")),
    "a shape that does not fit the size": net(const(shape="2, 9")),
    "a shape with a hole": net(const(shape="2,,8")),
    "a shape that is no number": net(const(shape="a")),
    "a shape of 2**40 elements": net(const(shape="1048576, 1048576", size="4")),
    "a shape of 2**40 elements and a zero": net(const(shape=", ".join(["1"] * 99), size="4")),
    "a port of 2**40 elements": net(PORT.format("<dim>1048576</dim><dim>1048576</dim>")),
    "100 elements inside each other": f"{HEAD}{'<a>' * 100}{'</a>' * 100}{END}".encode(),
    "100 attributes": net("<a " + " ".join(f'a{i}=""' for i in range(100)) + "/>"),
    "a long attribute": net(f'<a b="{"x" * (ir.MAX_VALUE_CHARACTERS + 1)}"/>'),
    "a long name": net(f"<{'x' * 300}/>"),
    "a constant inside a loop, behind the weights": net(
        f'<layer id="1" type="Loop"><body><layers>{const(offset="9")}</layers></body></layer>'
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_ir_is_refused(name: str) -> None:
    with pytest.raises(NotIr):
        rewrite_ir(REFUSED[name], WEIGHTS)


def test_what_was_written_is_kept_for_the_next_one_who_asks_and_no_longer() -> None:
    xml = GOOD.replace(b'name="n"', b'name="kept"')
    first, *later = [rewrite_ir(xml, WEIGHTS) for _ in range(3)]
    assert later == [first, first]
    assert later[0] is first
    assert later[1] is not first
    with pytest.raises(NotIr):
        rewrite_ir(xml, WEIGHTS - 1)
    assert not ir._LAST


def test_a_large_xml_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ir, "_KEPT_BYTES", len(GOOD) - 1)
    rewrite_ir(GOOD, WEIGHTS)
    assert not ir._LAST


@pytest.mark.parametrize("bound", ["MAX_ELEMENTS", "MAX_LAYERS", "MAX_EDGES", "MAX_BYTES"])
def test_numbers_are_bounded(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(ir, bound, 0)
    with pytest.raises(NotIr):
        rewrite_ir(GOOD.replace(b'name="n"', f'name="{bound}"'.encode()), WEIGHTS)


def test_the_same_ids_in_two_bodies_are_right() -> None:
    body = '<body><layers><layer id="0" type="a"/></layers></body>'
    written = rewrite_ir(
        net(f'<layer id="0" type="Loop">{body}</layer><layer id="1" type="Loop">{body}</layer>'), 0
    )
    assert [one.get("id") for one in ET.fromstring(written).iter("layer")] == ["0", "0", "1", "0"]


FAR = '<data element_type="u8" shape="1" offset="65" size="1"/>'
INSIDE = '<layers><layer id="7" type="Add"/></layers>'
IN_FRONT = [
    "", f"<body>{INSIDE}</body>", f"<then_body>{INSIDE}</then_body>", f"<a><b>{INSIDE}</b></a>", INSIDE, 2 * INSIDE,
    '<layer type="Add"/>', '<layer id="7" type="Add"><data/></layer>', '<x><layer type="Add"/></x>', "<layer/>",
    f"<body><layers><layer id='1' type='If'><body>{INSIDE}</body></layer></layers></body>", "<data/><layers/>",
    "<!-- <layer> --><rt_info><layer type='Add'/></rt_info>",
]  # fmt: skip


@pytest.mark.parametrize("before", IN_FRONT)
def test_a_constant_is_checked_whatever_stands_in_front_of_its_place(before: str) -> None:
    def write(layer_type: str) -> bytes:
        before_ = before.replace("<data/>", "") if layer_type == "Const" else before
        return net(f'<layer id="1" type="{layer_type}">{before_}{FAR}</layer>')

    with pytest.raises(NotIr):
        rewrite_ir(write("Const"), WEIGHTS)
    assert b'offset="65"' in rewrite_ir(write("Add"), WEIGHTS)


@pytest.mark.parametrize("before", IN_FRONT)
def test_what_is_no_constant_is_none_behind_one_either(before: str) -> None:
    inside = before.replace('type="Add"', 'type="Const"').replace("<data/>", "")
    assert b'offset="65"' in rewrite_ir(net(f'<layer id="1" type="Add">{inside}{FAR}</layer>'), WEIGHTS)


@pytest.mark.parametrize(
    "note",
    [
        '<__weights_path value="/etc/passwd"/>',
        '<info name="__weights_path" value="/etc/passwd"/>',
        '<attribute name="WeightlessCacheAttribute" version="0" bin_offset="0"/>',
        "<__weights_path><a><b/></a>/etc/passwd</__weights_path>",
        "<!-- /etc/passwd --><?p /etc/passwd?>",
    ],
)
def test_notes_of_weights_elsewhere_go(note: str) -> None:
    written = rewrite_ir(
        GOOD.replace(b"</net>", f'<rt_info><x value="kept"/>{note}</rt_info></net>'.encode()), WEIGHTS
    )
    assert b"kept" in written
    assert b"passwd" not in written
    assert b"eightless" not in written


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutants_end_in_the_declared_error_or_in_the_same_xml(data: st.DataObject) -> None:
    mutant = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        mutant[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"<a>", b"&a;"]))
        )
    try:
        written = rewrite_ir(bytes(mutant), WEIGHTS)
    except NotIr:
        return
    assert rewrite_ir(written, WEIGHTS) == written
    assert [one.tag for one in ET.fromstring(written).iter("layer")] == [
        one.tag for one in ET.fromstring(bytes(mutant)).iter("layer")
    ]


TWO: dict[str, Callable[[bytes], ModelFiles]] = {
    "an ONNX file and weights": lambda onnx: ModelFiles(onnx, b"x"),
    "an ONNX file": ModelFiles,
    "a TensorFlow Lite file": lambda _: ModelFiles(b"\x1c\0\0\0TFL3" + bytes(64), b"x"),
    "a file of Paddle": lambda _: ModelFiles(b"\x80\x02}q\x00" + bytes(64), b"x"),
    "a GGUF file": lambda _: ModelFiles(b"GGUF" + bytes(64), b"x"),
    "an IR in UTF-16": lambda _: ModelFiles(GOOD.decode().encode("utf-16"), bytes(WEIGHTS)),
    "an IR without weights": lambda _: ModelFiles(GOOD),
    "an archive": lambda _: ModelFiles(b"PK\x03\x04" + bytes(64), b"x"),
}


@pytest.mark.parametrize("name", TWO)
def test_the_bytes_decide_what_is_an_ir(name: str) -> None:
    from tests.support.bundle_models import small_model

    with pytest.raises(ModelError):
        make_safe(TWO[name](small_model()), "model.xml", "openvino")


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n <!-- a -->\n"])
def test_an_ir_is_never_taken_for_onnx(start: bytes) -> None:
    body = GOOD.partition(b"\n")[2]
    assert make_safe(ModelFiles(start + body, bytes(WEIGHTS))).format == "openvino"
    with pytest.raises(ModelError):
        make_safe(ModelFiles(start + body), declared="onnx")
