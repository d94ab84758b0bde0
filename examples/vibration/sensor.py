"""A sensor of six axes that drifts: publishes the test series of BasicMotions over MQTT, as a box gets them.

``python -m examples.vibration.sensor --gain 1.6 --after 120`` sends a JSON message with ten samples each second, and
from the 120th second on samples times 1.6: the sensor was replaced by one of another range, or its amplifier warmed up.
``--offset`` moves them as well, ``--dead ax`` silences a channel, ``--missing 0.05`` leaves numbers out.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click
import numpy as np
import paho.mqtt.client as mqtt
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from examples.vibration.vibration import AXES, RATE_HZ, read_series

BLOCK = 10
"""Samples of a message."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How the sensor's numbers differ from the true ones."""

    gain: float = 1.0
    offset: float = 0.0
    """In spreads of each channel."""
    dead: str | None = None
    missing: float = 0.0
    """Share of the numbers that are not there."""

    def apply(self, x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Samples (T, 6) as this sensor says them; NaN where it says none."""
        found = x * self.gain + self.offset * x.std(axis=0)
        if self.dead is not None:
            found[:, AXES.index(self.dead)] = 0.0
        found[rng.random(found.shape) < self.missing] = np.nan
        return np.asarray(found, np.float32)


def make_messages(drift: Drift, seed: int = 0) -> Iterator[bytes]:
    """The messages of all test series in turn, without end."""
    series, _ = read_series("TEST")
    rng = np.random.default_rng(seed)
    while True:
        for number in rng.permutation(len(series)):
            x = drift.apply(series[number], rng)
            for at in range(0, len(x), BLOCK):
                yield to_json(x[at : at + BLOCK])


def to_json(block: NDArray[np.float32]) -> bytes:
    """One message: a list of numbers for each axis, null where there is none."""
    columns = {
        axis: [None if np.isnan(value) else round(float(value), 5) for value in block[:, i]]
        for i, axis in enumerate(AXES)
    }
    return json.dumps(columns).encode()


@click.command()
@click.option("--host", default="localhost", show_default=True)
@click.option("--port", default=1883, show_default=True)
@click.option("--topic", default="plant/press/motion", show_default=True)
@click.option("--gain", default=1.0, show_default=True, help="Factor on each sample.")
@click.option("--offset", default=0.0, show_default=True, help="Added, in spreads of the channel.")
@click.option("--dead", type=click.Choice(AXES), help="A channel that gives 0.")
@click.option("--missing", default=0.0, show_default=True, help="Share of the numbers that are left out.")
@click.option("--after", "after_s", default=0.0, show_default=True, help="Seconds until the drift begins.")
@click.option("--speed", default=1.0, show_default=True, help="Times faster than a sensor of 10 Hz.")
def main(host: str, port: int, topic: str, after_s: float, speed: float, **drift: float) -> None:
    """Publish samples until it is ended."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(host, port)
    client.loop_start()
    healthy, drifted = make_messages(Drift()), make_messages(Drift(**drift), seed=1)  # type: ignore[arg-type]
    began_s, pause_s = time.monotonic(), BLOCK / RATE_HZ / speed
    for number, (good, bad) in enumerate(zip(healthy, drifted, strict=False)):
        is_drifted = number * BLOCK / RATE_HZ >= after_s
        client.publish(topic, bad if is_drifted else good, qos=1)
        time.sleep(max(0.0, began_s + (number + 1) * pause_s - time.monotonic()))


if __name__ == "__main__":
    main()
