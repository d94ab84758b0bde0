"""The file format of a signature, without keys."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.stats.json_values import MOST_VALUES
from edge_runtime.bundles.signing.envelope import (
    MAX_BYTES,
    BadEnvelope,
    Envelope,
    encode_for_signing,
    read_envelope,
    read_statement,
    write_envelope,
    write_statement,
)

FILES = {"model.onnx": "a" * 64, "bundle.yaml": "0" * 64}
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.dictionaries(st.text(min_size=1), hashes, min_size=1, max_size=8), st.binary(), st.text())
def test_what_is_written_is_read(files, signature, key_id):
    payload = write_statement("parts/1", files, "bundle.sig")
    envelope = Envelope(payload, signature, key_id)
    assert read_envelope(write_envelope(envelope)) == envelope
    assert read_statement(payload) == files


def test_a_payload_is_encoded_as_the_dsse_specification_has_it():
    # the example of DSSE's protocol.md, with our payload type
    assert encode_for_signing(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_the_list_is_in_the_order_of_paths():
    statement = json.loads(write_statement("parts/1", FILES, "bundle.sig"))
    assert [one["name"] for one in statement["predicate"]["resources"]] == ["bundle.yaml", "model.onnx"]


def _changed(change):
    statement = json.loads(write_statement("parts/1", FILES, "bundle.sig"))
    change(statement)
    return json.dumps(statement).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]),
        lambda s: s["predicate"]["resources"].pop(),
        lambda s: s["predicate"]["resources"][0].update(digest="00"),
        lambda s: s["predicate"]["resources"][0].update(algorithm="blake2b"),
        lambda s: s["predicate"]["serialization"].update(method="shards"),
        lambda s: s["subject"].append(s["subject"][0]),
        lambda s: s["subject"][0]["digest"].clear(),
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda s: s.pop("predicate"),
    ],
)
def test_a_statement_that_says_something_else_is_refused(change):
    with pytest.raises(BadEnvelope):
        read_statement(_changed(change))


def _other_envelope(change):
    data = json.loads(write_envelope(Envelope(b"{}", b"s", "k")))
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b"\xff\xfe",
        b" " * (MAX_BYTES + 1),
        _other_envelope(lambda d: d.update(mediaType="application/json")),
        _other_envelope(lambda d: d["dsseEnvelope"].update(payload="*")),
        _other_envelope(lambda d: d["dsseEnvelope"].update(payloadType="text/plain")),
        _other_envelope(lambda d: d["dsseEnvelope"].update(signatures=[])),
        _other_envelope(lambda d: d["verificationMaterial"].pop("publicKey")),
        _other_envelope(lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="é")),
    ],
)
def test_what_is_no_signature_is_refused(data):
    with pytest.raises(BadEnvelope):
        read_envelope(data)


@pytest.mark.parametrize("inside", [b"{}", b"[]", b"0", b'{"sig":""}'])
def test_more_values_than_a_signature_has_are_refused_before_they_are_parsed(inside):
    many = b",".join([inside] * (MOST_VALUES + 1))
    with pytest.raises(BadEnvelope, match=str(MOST_VALUES)):
        read_envelope(b'{"dsseEnvelope": {"signatures": [%s]}}' % many)
    with pytest.raises(BadEnvelope, match=str(MOST_VALUES)):
        read_statement(b'{"predicate": {"resources": [%s]}}' % many)


def test_a_refusal_is_short_whatever_the_file_says():
    statement = json.loads(write_statement("small/1", {"a": "0" * 64}, "bundle.sig"))
    statement["subject"][0]["digest"] = {"k" * 1_000_000: 1}
    with pytest.raises(BadEnvelope) as caught:
        read_statement(json.dumps(statement).encode())
    assert len(str(caught.value)) < 1000


def test_a_signer_that_does_not_name_its_key_is_read():
    data = json.loads(write_envelope(Envelope(b"{}", b"s", None)))
    assert data["verificationMaterial"]["publicKey"] == {}
    data["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(b"t").decode()
    assert read_envelope(json.dumps(data).encode()) == Envelope(b"{}", b"t", None)
