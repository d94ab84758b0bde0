"""Whether the streams of a model give what its bundle takes, and what a sensor's section says otherwise than it."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config, SensorConfig, StreamConfig
from edge_runtime.errors import BundleError
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec


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


def check_same_windows(config: Config, name: str, active: PreprocessSpec, candidate: Bundle) -> None:
    """Refuse to try a bundle that cannot answer the windows of the active one: a sensor's windows are cut for that.

    Raises:
        BundleError: channels, length or rate differ; it says how the bundle comes into force all the same.
    """
    spec = candidate.manifest.preprocess
    if not isinstance(active, SignalSpec) or not isinstance(spec, SignalSpec):
        return
    of_model = [one for one in config.sensors.values() if one.model == name and one.enabled]
    found = next(
        (said for one in _list_inputs(active, of_model) if (said := _find_other_window(one, spec))), None
    )
    if found is not None:
        version = candidate.manifest.version
        fix = f"Write 'version: {version}' below models.{name}: it is then opened without a trial, with own windows."
        raise BundleError(
            candidate.path, found, "the windows of the active version, to be tried next to it", fix
        )


def _list_inputs(active: SignalSpec, sensors: Sequence[SensorConfig]) -> list[SignalSpec]:
    return [adapt_spec(active, one) for one in sensors] or [active]


def _find_other_window(active: SignalSpec, candidate: SignalSpec) -> str | None:
    """How the windows of ``candidate`` differ from those that are made for ``active``; None where they do not."""
    if candidate.channel_names != active.channel_names:
        own, known = (", ".join(names[:10]) for names in (candidate.channel_names, active.channel_names))
        return f"windows of the channels {own}, not {known}"
    wanted = max(1, round(candidate.length * active.input_rate_hz / candidate.rate_hz))
    if wanted != active.input_length:
        return f"windows of {wanted} samples at {active.input_rate_hz:g} Hz, not {active.input_length}"
    return None


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
