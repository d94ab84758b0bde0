"""Whether all sensors of a configuration together fit into the memory of the box at their worst."""

from collections.abc import Mapping

import psutil

from edge_runtime.config import Config, SensorConfig
from edge_runtime.deployment.stream_input import adapt_spec
from edge_runtime.inference.signals.windows import measure_most_bytes
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec
from edge_runtime.sources.mqtt_signals import MAX_BYTES

MOST_SHARE = 0.25
"""Of the memory of the box, beyond which it is said."""


def note_memory_of_sensors(
    config: Config, specs: Mapping[str, PreprocessSpec], box_bytes: int | None = None
) -> list[str]:
    """How much all sensors may keep together, where that is a large share of the box's memory.

    Args:
        config: The configuration.
        specs: The inputs of its models, of those that could be opened.
        box_bytes: The memory of the box; None asks the kernel.
    """
    most = {
        name: _measure(sensor, spec)
        for name, sensor in config.sensors.items()
        if sensor.enabled and isinstance(spec := specs.get(sensor.model), SignalSpec)
    }
    box = psutil.virtual_memory().total if box_bytes is None else box_bytes
    total = sum(most.values())
    if total <= MOST_SHARE * box:
        return []
    largest = max(most, key=lambda name: most[name])
    found = (
        f"samples and waiting messages may take {total >> 20} MiB together, of {box >> 20} MiB of the box, when "
        f"models are too slow and samples late; most takes sensors.{largest}, {most[largest] >> 20} MiB"
    )
    return [f"sensors: {found}; shorten its windows or late_s, or have fewer sensors on this box"]


def _measure(sensor: SensorConfig, spec: SignalSpec) -> int:
    return measure_most_bytes(adapt_spec(spec, sensor)) + (MAX_BYTES if sensor.is_over_mqtt else 0)
