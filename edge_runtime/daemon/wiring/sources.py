"""From a camera section to a source: the only file, with ``sensors``, that names concrete sources."""

from pathlib import Path

from edge_runtime.config import CameraConfig, PicturesConfig
from edge_runtime.daemon.wiring.messages import fill_from_topic
from edge_runtime.errors import SourceLost
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.sources.answered_files import AnsweredFiles
from edge_runtime.sources.base import Source
from edge_runtime.sources.capture_protocol import VideoOptions
from edge_runtime.sources.demo import DATA
from edge_runtime.sources.demo.demo_camera import DemoCamera
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.mqtt_images import MqttImagesSource
from edge_runtime.sources.video import VideoSource
from edge_runtime.system.camera_address import CameraAddress, CameraKind
from edge_runtime.system.camera_path import look_at_path
from edge_runtime.system.sensor_address import SensorAddress

RETAINED = "a picture that the broker had kept (retained) was ignored: its age is unknown"


class AnsweredFolders:
    """The answered files of each watched folder's stream, kept while the daemon runs: edits reopen sources.

    Those of a removed stream stay too: it may come back, and its folder is not answered again then.
    """

    def __init__(self, folder: Path, delivery: Delivery) -> None:
        self._folder, self._delivery = folder, delivery
        self._open: dict[str, AnsweredFiles] = {}

    def get(self, stream: str) -> AnsweredFiles:
        """Those of one stream, read from its file the first time."""
        if stream not in self._open:
            path, delivery = self._folder / f"{stream}.answered", self._delivery
            self._open[stream] = AnsweredFiles(path, mark=delivery.mark, is_kept=delivery.is_kept)
        return self._open[stream]

    def close(self) -> None:
        """Record what was answered until now."""
        for answered in list(self._open.values()):
            answered.close()


def open_source(
    stream: str,
    camera: CameraConfig,
    first_seq: int,
    *,
    connection: BrokerConnection,
    answered: AnsweredFolders,
    pictures: PicturesConfig,
) -> Source:
    """The source of one camera section; ``pictures`` limits the size of its frames.

    Raises:
        SourceLost: it cannot be opened now.
    """
    require_possible(stream, camera.address)
    match camera.address.kind:
        case CameraKind.DEMO:
            return open_demo_camera(stream, camera, first_seq)
        case CameraKind.MQTT:
            source = MqttImagesSource(stream, fps=camera.fps, first_seq=first_seq)
            fill_from_topic(source, connection, connection.topics.picture(stream), RETAINED)
            return source
        case CameraKind.FILE if is_folder(stream, camera.path):
            pace = None if camera.pace == "fastest" else camera.fps
            folder = Path(camera.path)
            return ImagesSource(
                stream,
                folder,
                fps=pace,
                loop=camera.loop,
                watch=camera.watch,
                subfolders=camera.subfolders,
                answered=answered.get(stream) if camera.watch else None,
                first_seq=first_seq,
            )
        case _:
            return VideoSource(
                stream, camera.path, video_options(camera, pictures.max_frame_mib << 20), first_seq=first_seq
            )


def require_possible(stream: str, address: CameraAddress | SensorAddress) -> None:
    """Look at a local path before it is opened.

    Raises:
        SourceLost: it will never work.
    """
    wrong = look_at_path(address)
    if wrong is not None and wrong.is_lasting:
        raise SourceLost(stream, f"{wrong.found}; expected {wrong.expected}")


def is_folder(stream: str, path: str) -> bool:
    """Whether a path is one.

    Raises:
        SourceLost: that cannot be seen.
    """
    try:
        return Path(path).is_dir()
    except OSError as err:
        raise SourceLost(stream, f"{path} cannot be opened: {err.strerror}") from err


def open_demo_camera(stream: str, camera: CameraConfig, first_seq: int) -> DemoCamera:
    """The demo's conveyor of photographs."""
    folder = camera.demo.pictures if camera.demo is not None else None
    return DemoCamera(
        stream, folder or DATA / "pictures", camera.demo, fps=camera.fps or 10.0, first_seq=first_seq
    )


def video_options(camera: CameraConfig, max_frame_bytes: int) -> VideoOptions:
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
        decode=camera.decode,
        max_frame_bytes=max_frame_bytes,
    )
