"""From a sensor section to a source of windows."""

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from edge_runtime.config import SensorConfig
from edge_runtime.daemon.wiring.messages import fill_from_topic
from edge_runtime.daemon.wiring.sources import AnsweredFolders, is_folder, require_possible
from edge_runtime.deployment.stream_input import adapt_spec, describe_misfit
from edge_runtime.errors import SourceLost
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.sources.base import Source
from edge_runtime.sources.input_lines import InputLines
from edge_runtime.sources.mqtt_signals import MqttSignalsSource
from edge_runtime.sources.signal_files import SignalFileSource
from edge_runtime.sources.signal_folder import SignalFolderSource
from edge_runtime.sources.signal_lines import SignalLinesSource
from edge_runtime.sources.window_frames import FindSpec
from edge_runtime.system.sensor_address import SensorKind

RETAINED = "a message that the broker had kept (retained) was ignored: its age is unknown"


def open_sensor(
    stream: str,
    sensor: SensorConfig,
    first_seq: int,
    *,
    connection: BrokerConnection,
    answered: AnsweredFolders,
    lines: InputLines,
    find_spec: FindSpec,
    max_bytes: int,
) -> Source:
    """The source of one sensor section, ``lines`` for standard input; files of more than ``max_bytes`` are refused.

    Raises:
        SourceLost: it cannot be opened now, or its model takes no windows.
    """
    require_possible(stream, sensor.address)
    is_paced = sensor.pace == "native"
    match sensor.address.kind:
        case SensorKind.STANDARD_INPUT:
            return SignalLinesSource(stream, find_spec, lines, first_seq=first_seq)
        case SensorKind.FILE if is_folder(stream, sensor.path):
            return SignalFolderSource(
                stream,
                Path(sensor.path),
                find_spec,
                is_paced=is_paced,
                loop=sensor.loop,
                watch=sensor.watch,
                subfolders=sensor.subfolders,
                answered=answered.get(stream) if sensor.watch else None,
                max_bytes=max_bytes,
                first_seq=first_seq,
            )
        case SensorKind.FILE:
            return SignalFileSource(
                stream,
                Path(sensor.path),
                find_spec,
                is_paced=is_paced,
                loop=sensor.loop,
                max_bytes=max_bytes,
                first_seq=first_seq,
            )
    topic = sensor.topic or connection.topics.signal(stream)
    expected_on = None if sensor.is_idle_allowed else topic
    source = MqttSignalsSource(stream, find_spec, first_seq=first_seq, expected_on=expected_on)
    fill_from_topic(source, connection, topic, RETAINED)
    return source


def make_spec_finder(find_pipeline: Callable[[], Pipeline], stream: str, sensor: SensorConfig) -> FindSpec:
    """What the pipeline that gets the next windows of a sensor wants of it, asked at every message.

    The finder raises ``SourceLost`` where the model takes pictures, or the stream's payload does not fit its bundle.
    """
    known: tuple[PreprocessSpec, SignalSpec] | None = None

    def find() -> SignalSpec:
        nonlocal known
        spec = find_pipeline().preprocessor.spec
        if known is None or known[0] is not spec:
            if not isinstance(spec, SignalSpec):
                found = f"model {sensor.model!r} takes pictures"
                raise SourceLost(stream, f"{found}; expected one whose bundle takes windows (kind: signal)")
            try:
                known = spec, adapt_spec(spec, sensor)
            except ValidationError as err:
                found = f"its section does not fit the model's bundle: {describe_misfit(err)}"
                raise SourceLost(stream, found) from err
        return known[1]

    return find
