"""The processor time to read one window of (256, 3) from each payload format, as a table of Markdown."""

import time
import timeit
from collections.abc import Iterator

import cbor2
import click
import msgpack
import numpy as np
import orjson

from benchmarks.signals.window import CHANNELS, make_window
from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.specs import PayloadSpec

REPEATS, RUNS = 7, 200


@click.command()
def main() -> None:
    """Print the table: the best of seven rounds, so that neighbours of the machine count least."""
    click.echo("| payload | bytes | microseconds a window | nanoseconds a value |\n|---|---|---|---|")
    for name, data, payload in _messages():
        times_s = timeit.repeat(
            lambda data=data, payload=payload: read_payload(data, payload, CHANNELS),  # type: ignore[misc]
            timer=time.thread_time, number=RUNS, repeat=REPEATS,
        )  # fmt: skip
        us = min(times_s) / RUNS * 1e6
        values = read_payload(data, payload, CHANNELS).numbers.size
        click.echo(f"| {name} | {len(data)} | {us:.0f} | {us * 1000 / values:.0f} |")


def _messages() -> Iterator[tuple[str, bytes, PayloadSpec]]:
    """The same window with four decimals, as sensors send it, in every format."""
    window = np.round(make_window(0).astype(np.float64), 4)
    rows = window.tolist()
    columns = {name: window[:, i].tolist() for i, name in enumerate(CHANNELS)}
    records = [dict(zip(CHANNELS, row, strict=True)) for row in rows]
    forms = {"lists": columns, "records": records, "rows": rows}
    for form, value in forms.items():
        yield f"JSON, {form}", orjson.dumps(value), PayloadSpec()
    for form, value in forms.items():
        yield f"CBOR, {form}", cbor2.dumps(value), PayloadSpec(format="cbor")
    arrays = {name: window[:, i].astype("<f4").tobytes() for i, name in enumerate(CHANNELS)}
    tagged = {name: cbor2.CBORTag(85, data) for name, data in arrays.items()}
    yield "CBOR, typed arrays of float32", cbor2.dumps(tagged), PayloadSpec(format="cbor")
    for form, value in forms.items():
        yield f"MessagePack, {form}", msgpack.packb(value), PayloadSpec(format="msgpack")
    yield "MessagePack, binary of float32", msgpack.packb(arrays), PayloadSpec(format="msgpack")
    holes = [["" if i % 20 == 0 else f"{value:.4f}" for value in row] for i, row in enumerate(rows)]
    full = [[f"{value:.4f}" for value in row] for row in rows]
    for name, lines in (("CSV", full), ("CSV, 5 % missing", holes)):
        text = "\n".join(",".join(line) for line in [list(CHANNELS), *lines])
        yield name, text.encode(), PayloadSpec(format="csv")
    text = "\n".join(";".join(line).replace(".", ",") for line in [list(CHANNELS), *full])
    comma = PayloadSpec(format="csv", delimiter=";", decimal=",", encoding="gbk")
    yield "CSV, decimal commas, GBK", text.encode("gbk"), comma
    yield "raw float32", window.astype("<f4").tobytes(), PayloadSpec(format="raw")
    yield ".npy of float32", write_npy(window.astype(np.float32)), PayloadSpec(format="npy")


if __name__ == "__main__":
    main()
