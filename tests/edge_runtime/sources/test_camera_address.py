import pytest

from edge_runtime.sources.camera_address import CameraAddress, CameraKind, redact


@pytest.mark.parametrize(
    ("text", "kind", "endpoint"),
    [
        ("rtsp://cam.local/stream1", CameraKind.RTSP, ("cam.local", 554)),
        ("RTSPS://me:secret@10.0.0.7:8322/a", CameraKind.RTSP, ("10.0.0.7", 8322)),
        ("http://[::1]:8080/mjpeg", CameraKind.HTTP, ("::1", 8080)),
        ("https://cam/video.cgi?user=a&pwd=b", CameraKind.HTTP, ("cam", 443)),
        ("/dev/video0", CameraKind.DEVICE, None),
        ("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:2:1.0-video-index0", CameraKind.DEVICE, None),
        ("clips/belt 10:30.mp4", CameraKind.FILE, None),
        ("/var/lib/belt.avi", CameraKind.FILE, None),
    ],
)
def test_allowed_addresses(text, kind, endpoint):
    address = CameraAddress(text)
    assert (address.kind, address.endpoint) == (kind, endpoint)
    assert address.is_live == (kind is not CameraKind.FILE)


@pytest.mark.parametrize(
    "text",
    [
        "", "concat:a.mp4|b.mp4", "file:///etc/passwd", "gopher://x/", "udp://0.0.0.0:1234", "pipe:0", "data:x",
        "rtsp://", "rtsp:///path", "rtsp://host:99999/", "rtsp://host:port/", "http://[::1/", "/dev/sda", "/dev/zero",
        "rtsp://a\nb/", "subfile,,start,0,end,0,,:/etc/passwd", "RTP://host/",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="expected rtsp://"):
        CameraAddress(text)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:s3cret@cam/1", "rtsp://admin:p@s3cret@cam/1", "rtsp://admin:a/s3cret@cam/1",
        "https://cam/v?token=s3cret&x=1", "http://cam/v?x=1&PASSWORD=s3cret", "got 401 for rtsp://u:s3cret@cam/1 twice",
    ],
)  # fmt: skip
def test_secrets_never_reach_a_log(text):
    assert "s3cret" not in redact(text)
    assert "cam" in redact(text) or "@" in text


def test_a_refusal_hides_the_password_too():
    with pytest.raises(ValueError, match="expected rtsp") as refused:
        CameraAddress("rtmp://me:s3cret@host/x")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("text", ["rtsp://cam/1", "http://cam/1", "clip.mp4", "/dev/video3"])
def test_every_kind_names_its_protocols(text):
    assert "protocol_whitelist;" in CameraAddress(text).ffmpeg_options("tcp")


def test_remote_streams_may_not_read_local_files():
    assert "file" not in CameraAddress("http://cam/x.m3u8").ffmpeg_options("tcp")
    assert "http" not in CameraAddress("clip.m3u8").ffmpeg_options("tcp")


def test_transport_is_passed_on():
    assert "rtsp_transport;udp" in CameraAddress("rtsp://cam/1").ffmpeg_options("udp")


def test_patient_probing_leaves_the_time_to_ffmpeg():
    quick, patient = (
        CameraAddress("rtsp://cam/1").ffmpeg_options("tcp", is_patient=p) for p in (False, True)
    )
    assert "probesize" in quick
    assert "probesize" not in patient
