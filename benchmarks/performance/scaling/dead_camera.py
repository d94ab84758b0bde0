"""Eight live cameras with and without a dead one: ``benchmarks run dead-camera``.

The dead one accepts every RTSP connection and never says a word, which is worse than a refusal: each attempt lasts
until its time limit, and the daemon tries again for ever. Live ones are as in ``many``.
"""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.performance.bare_runs import Report, pictures_in
from benchmarks.performance.scaling.many import look_at, many_config

LIVE = 8


def measure(*, rounds: int, seconds: float) -> Report:
    """The live ones' figures without and with it, in turns; every other round the other way round."""
    with tempfile.TemporaryDirectory(prefix="dead-") as name, silent_camera() as address:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures")[0].parent
        found = []
        for number in range(rounds):
            both = {}
            for case in ("without", "with") if number % 2 == 0 else ("with", "without"):
                config = many_config(pictures, LIVE, 1)
                if case == "with":
                    config["cameras"]["dead"] = {"path": address, "model": "model-0"}
                both[case] = look_at(config, seconds, folder / f"{number}-{case}")
            found.append(both)
        return {"live": LIVE, "rounds": found}


@contextmanager
def silent_camera() -> Iterator[str]:
    """The address of a camera that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/stream"
