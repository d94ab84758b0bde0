"""The cameras of the network: a device that answers as ONVIF says, and others that would do harm."""

import contextlib
import re
import socket
import threading

import pytest

from edge_runtime.cli.init.network_cameras import NetworkCamera, find_network_cameras, read_answer
from tests.support.waiting import WAIT_S

MESSAGE = "urn:uuid:0a1b"
ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<s:Header><a:RelatesTo>{message}</a:RelatesTo></s:Header><s:Body><d:ProbeMatches><d:ProbeMatch>
<a:EndpointReference><a:Address>urn:uuid:cam</a:Address></a:EndpointReference>
<d:Types>dn:NetworkVideoTransmitter</d:Types>
<d:Scopes>onvif://www.onvif.org/type/video_encoder {scopes}</d:Scopes>
<d:XAddrs>http://192.0.2.66/onvif/device_service</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>
</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"""
BOMB = """<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><b>&b;</b>"""


def answer(message=MESSAGE, scopes=""):
    return ANSWER.format(message=message, scopes=scopes).encode()


@contextlib.contextmanager
def run_device(make_answers):
    """A device on loopback that answers each question as told; gives its address and the questions."""
    asked, ended = [], threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind(("127.0.0.1", 0))
        device.settimeout(0.05)

        def serve():
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    question, sender = device.recvfrom(65_535)
                    asked.append(question.decode())
                    message = re.search("MessageID>([^<]+)<", asked[-1])[1]
                    for one in make_answers(message):
                        device.sendto(one, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield device.getsockname(), asked
        finally:
            ended.set()
            thread.join(WAIT_S)


def test_a_camera_is_found_among_those_that_send_nonsense():
    def make_answers(message):
        yield from (b"", b"\xff\x00", BOMB.encode(), answer("urn:uuid:another"), b"<a>" * 10_000)
        yield answer(
            message, "onvif://www.onvif.org/name/HIKVISION%20DS-2CD onvif://www.onvif.org/hardware/DS-2CD"
        )

    with run_device(make_answers) as (group, asked):
        found = find_network_cameras(3.0, group, ["127.0.0.1"])
    assert found == [NetworkCamera("127.0.0.1", "HIKVISION DS-2CD DS-2CD")]
    assert found[0].address_hint == "rtsp://127.0.0.1/Streaming/Channels/101"
    assert len(asked) == 2
    assert "NetworkVideoTransmitter" in asked[0]


def test_one_that_never_stops_does_not_keep_it():
    with run_device(lambda message: 2000 * [answer(message)]) as (group, _):
        assert find_network_cameras(30.0, group, ["127.0.0.1"]) == [NetworkCamera("127.0.0.1", "")]


def test_a_box_without_a_network_finds_none():
    assert find_network_cameras(0.2, ("127.0.0.1", 9), []) == []
    assert find_network_cameras(0.2, ("127.0.0.1", 9), ["192.0.2.1"]) == []


@pytest.mark.parametrize(
    ("scopes", "name"),
    [
        ("", ""),
        ("onvif://www.onvif.org/name/AXIS%20M1065", "AXIS M1065"),
        ("onvif://www.onvif.org/name/a%0Amodels:%20x", "a models: x"),
        ("onvif://www.onvif.org/name/%1b%5b31m", "?[31m"),
        ("onvif://www.onvif.org/name/" + 200 * "n", 60 * "n"),
    ],
)
def test_names_are_harmless(scopes, name):
    assert read_answer(answer(scopes=scopes), MESSAGE) == name


@pytest.mark.parametrize(
    "data",
    [
        BOMB.encode(),
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        answer().replace(b"ProbeMatch>", b"Hello>"),
        answer("urn:uuid:another"),
    ],
)
def test_what_is_no_answer(data):
    assert read_answer(data, MESSAGE) is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("AXIS M1065", "/axis-media/media.amp"),
        ("IPC-Dahua", "/cam/realmonitor?channel=1&subtype=0"),
        ("", "/stream1"),
    ],
)
def test_the_likely_stream_of_a_maker(name, path):
    assert NetworkCamera("10.0.0.7", name).address_hint == f"rtsp://10.0.0.7{path}"
