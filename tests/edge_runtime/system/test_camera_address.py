from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.config import parse_config
from edge_runtime.daemon.wiring.sources import video_options
from edge_runtime.system.camera_address import BadCameraAddress, CameraAddress, CameraKind


@dataclass(frozen=True)
class Form:
    """One accepted form of ``path`` and the answer to every question about it."""

    path: str
    kind: CameraKind
    endpoint: tuple[str, int] | None = None
    redacted: str | None = None
    """None: nothing to hide."""


FORMS = [
    Form("rtsp://cam.local/stream1", CameraKind.RTSP, ("cam.local", 554)),
    Form("RTSPS://me:s3cret@10.0.0.7:8322/a", CameraKind.RTSP, ("10.0.0.7", 8322), "RTSPS://***@10.0.0.7:8322/a"),
    Form("http://[::1]:8080/mjpeg", CameraKind.HTTP, ("::1", 8080)),
    Form("https://cam/v?usr=a&pwd=b", CameraKind.HTTP, ("cam", 443), "https://cam/v?usr=***&pwd=***"),
    Form("/dev/video0", CameraKind.DEVICE),
    Form("/dev/v4l/by-id/usb-cam-index0", CameraKind.DEVICE),
    Form("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:2:1.0-video-index0", CameraKind.DEVICE),
    Form("/dev/shm/pictures", CameraKind.FILE),
    Form("/var/lib/belt.avi", CameraKind.FILE),
    Form("/var/lib/pictures/", CameraKind.FILE),
    Form("clips/belt 10:30.mp4", CameraKind.FILE),
    Form("belt 10:30.mp4", CameraKind.FILE),
    Form("mqtt", CameraKind.MQTT),
    Form("demo:conveyor", CameraKind.DEMO),
]  # fmt: skip
IS_LIVE = {kind: kind is not CameraKind.FILE for kind in CameraKind}
MAY_IDLE = {kind: kind in (CameraKind.FILE, CameraKind.MQTT) for kind in CameraKind}
BACKENDS = {
    CameraKind.RTSP: "ffmpeg", CameraKind.HTTP: "ffmpeg", CameraKind.FILE: "ffmpeg", CameraKind.DEVICE: "v4l2",
    CameraKind.MQTT: None, CameraKind.DEMO: None,
}  # fmt: skip
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.path)


def camera(path: str, **options: Any):
    text = f"device: d\nmodels: {{m: {{bundle: b}}}}\ncameras:\n  c: {{path: '{path}', model: m}}\nmqtt: {{host: b}}\n"
    return parse_config(text, "test.yaml", {}).cameras["c"].model_copy(update=options)


def test_every_kind_has_a_form_here() -> None:
    assert {form.kind for form in FORMS} == set(CameraKind)


@every_form
def test_every_form_is_known_by_its_address(form: Form) -> None:
    address = CameraAddress(form.path)
    kind = address.kind
    assert (kind, address.endpoint) == (form.kind, form.endpoint)
    assert (kind.is_live, kind.may_idle, kind.backend) == (IS_LIVE[kind], MAY_IDLE[kind], BACKENDS[kind])
    assert address.redacted == (form.redacted or form.path)
    assert address.local_path == (Path(form.path) if kind in (CameraKind.FILE, CameraKind.DEVICE) else None)


@every_form
def test_the_configuration_answers_as_the_address_does(form: Form) -> None:
    section = camera(form.path)
    assert section.address.kind is form.kind
    assert section.is_idle_allowed is MAY_IDLE[form.kind]
    assert section.safe_path == section.model_dump()["path"]
    assert Path(section.safe_path) == Path(form.redacted or form.path)
    assert camera(form.path, may_idle=True).is_idle_allowed
    assert not camera(form.path, may_idle=False).is_idle_allowed


@every_form
def test_only_a_file_is_played_at_the_pace_of_fps(form: Form) -> None:
    assert video_options(camera(form.path, fps=10), 1).pace == ("native" if IS_LIVE[form.kind] else "fps")
    assert video_options(camera(form.path), 1).pace == "native"


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "concat:a.mp4|b.mp4", "file:///etc/passwd", "gopher://x/", "udp://0.0.0.0:1234", "pipe:0", "data:x",
        "rtsp://", "rtsp:///path", "rtsp:cam", "rtsp://host:99999/", "rtsp://host:port/", "http://[::1/", "/dev/sda",
        "/dev/zero", "rtsp://a\nb/", "rtsp://a b/", "subfile,,start,0,end,0,,:/etc/passwd", "RTP://host/", "demo:other",
        "0", "12", "v4l2src device=/dev/video0 ! videoconvert ! appsink",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadCameraAddress):
        CameraAddress(text)


def test_a_refusal_hides_the_password() -> None:
    for text in ("rtmp://me:s3cret@host/x", "rtsp://me:s3cret@host:99999/"):
        with pytest.raises(BadCameraAddress) as refused:
            CameraAddress(text)
        assert "s3cret" not in str(refused.value) + refused.value.expected


@pytest.mark.parametrize("text", ["rtsp://cam/1", "http://cam/1", "clip.mp4", "/dev/video3"])
def test_every_kind_names_its_protocols(text: str) -> None:
    assert "protocol_whitelist" in CameraAddress(text).ffmpeg_options("tcp")


def test_remote_streams_may_not_read_local_files() -> None:
    assert "file" not in CameraAddress("http://cam/x.m3u8").ffmpeg_options("tcp")["protocol_whitelist"]
    assert "http" not in CameraAddress("clip.m3u8").ffmpeg_options("tcp")["protocol_whitelist"]


def test_transport_is_passed_on() -> None:
    assert CameraAddress("rtsp://cam/1").ffmpeg_options("udp")["rtsp_transport"] == "udp"


def test_patient_probing_leaves_the_time_to_ffmpeg() -> None:
    quick, patient = (
        CameraAddress("rtsp://cam/1").ffmpeg_options("tcp", is_patient=p) for p in (False, True)
    )
    assert "probesize" in quick
    assert "probesize" not in patient
