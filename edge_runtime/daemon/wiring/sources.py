"""From a camera section to a source: the only file that names concrete sources."""

import time
from functools import partial
from pathlib import Path

from edge_runtime.config import CameraConfig, PicturesConfig
from edge_runtime.errors import SourceLost
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.mqtt.session import Message
from edge_runtime.sources.base import Source
from edge_runtime.sources.capture_protocol import VideoOptions
from edge_runtime.sources.demo import DATA
from edge_runtime.sources.demo.demo_camera import DemoCamera
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.mqtt_images import MqttImagesSource
from edge_runtime.sources.video import VideoSource
from edge_runtime.system.camera_address import CameraKind


def open_source(
    stream: str,
    camera: CameraConfig,
    first_seq: int,
    *,
    connection: BrokerConnection,
    pictures: PicturesConfig = PicturesConfig(),  # noqa: B008 - frozen
) -> Source:
    """The source of one camera section; ``pictures`` limits the size of its frames.

    Raises:
        SourceLost: it cannot be opened now.
    """
    match camera.address.kind:
        case CameraKind.DEMO:
            return open_demo_camera(stream, camera)
        case CameraKind.MQTT:
            client = connection.client
            assert client is not None, "the configuration was checked: path mqtt needs a section mqtt"
            source = MqttImagesSource(stream, first_seq=first_seq)
            topic = connection.topics.picture(stream)
            source.on_close = client.subscribe(topic, partial(_post, source))
            return source
        case CameraKind.FILE if _is_folder(stream, camera.path):
            pace = None if camera.pace == "fastest" else camera.fps
            folder = Path(camera.path)
            return ImagesSource(
                stream, folder, fps=pace, loop=camera.loop, watch=camera.watch, first_seq=first_seq
            )
        case _:
            return VideoSource(
                stream, camera.path, video_options(camera, pictures.max_frame_mib << 20), first_seq=first_seq
            )


def _post(pictures: MqttImagesSource, message: Message) -> None:
    """Ignore a retained picture: its age is unknown, and it comes again at every connection."""
    if message.is_retained:
        pictures.ignore("a retained picture was ignored: publish pictures without the retain flag")
    else:
        pictures.offer(message.payload, time.monotonic())


def _is_folder(stream: str, path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError as err:
        raise SourceLost(stream, f"{path} cannot be opened: {err.strerror}") from err


def open_demo_camera(stream: str, camera: CameraConfig) -> DemoCamera:
    """The demo's conveyor of photographs; its sequence numbers are frame indices and always begin at 0."""
    folder = camera.demo.pictures if camera.demo is not None else None
    return DemoCamera(stream, folder or DATA / "pictures", camera.demo, fps=camera.fps or 10.0)


def video_options(camera: CameraConfig, max_frame_bytes: int = 64 << 20) -> VideoOptions:
    """The options of a camera or video file. In the configuration fps is a file's pace; for a camera it is a limit."""
    is_paced = camera.fps is not None and camera.pace == "native" and not camera.address.kind.is_live
    return VideoOptions(
        fps=camera.fps,
        pace="fps" if is_paced else camera.pace,
        loop=camera.loop,
        transport=camera.transport,
        open_timeout_s=camera.open_timeout_s,
        stall_timeout_s=camera.stall_timeout_s,
        size=camera.size,
        max_frame_bytes=max_frame_bytes,
    )
