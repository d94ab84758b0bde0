"""Whether the streams of a model give what its bundle takes, and what a sensor's section says otherwise than it."""

from collections.abc import Mapping

from pydantic import ValidationError

from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config, SensorConfig, StreamConfig
from edge_runtime.errors import BundleError
from edge_runtime.inference.specs import SignalSpec


def check_streams(config: Config, name: str, bundle: Bundle) -> None:
    """Refuse a bundle whose input the streams of its model do not give.

    Raises:
        BundleError: it takes windows and one of them is a camera, or the other way round; or a sensor's section does
            not go together with it.
    """
    spec = bundle.manifest.preprocess
    takes_windows = isinstance(spec, SignalSpec)
    wrong: Mapping[str, StreamConfig] = config.cameras if takes_windows else config.sensors
    streams = [stream for stream, section in wrong.items() if section.model == name and section.enabled]
    if streams:
        kinds = ("windows of sensors", "cameras") if takes_windows else ("pictures", "sensors")
        section = "sensors" if takes_windows else "cameras"
        found = f"it takes {kinds[0]}, and its streams {', '.join(streams)} are {kinds[1]}"
        fix = "Give the streams another model, or move them."
        raise BundleError(bundle.path, found, f"streams below '{section}'", fix)
    if isinstance(spec, SignalSpec):
        for stream, sensor in config.sensors.items():
            if sensor.model == name and sensor.enabled:
                _check_sensor(bundle, spec, stream, sensor)


def _check_sensor(bundle: Bundle, spec: SignalSpec, stream: str, sensor: SensorConfig) -> None:
    try:
        adapt_spec(spec, sensor)
    except ValidationError as err:
        found = f"its preprocess with what sensors.{stream} says otherwise: {describe_misfit(err)}"
        fix = f"Correct sensors.{stream}, or give it another model."
        raise BundleError(bundle.path, found, "values that go together", fix) from err


def adapt_spec(spec: SignalSpec, sensor: SensorConfig) -> SignalSpec:
    """The input of a model with what a sensor's section says otherwise.

    Raises:
        ValidationError: both together make no sense, such as windows of too many samples at the sensor's rate.
    """
    said = {name: value for name, value in sensor.payload if value is not None}
    if said.get("time") == "":
        said["time"] = None
    others = {"late_s": sensor.late_s, "hop": sensor.hop}
    changed = {name: value for name, value in others.items() if value is not None}
    payload = {"payload": spec.payload.model_dump() | said}
    return SignalSpec.model_validate(spec.model_dump() | payload | changed)


def describe_misfit(err: ValidationError) -> str:
    """The first problems of :func:`adapt_spec`, each behind its key."""
    problems = [(".".join(map(str, one["loc"])), one["msg"]) for one in err.errors()[:3]]
    return "; ".join(f"{key}: {said}" if key else said for key, said in problems)
