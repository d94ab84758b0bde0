"""The daemon compared with mosec, LitServe and MLServer, in turns: ``benchmarks run peers``.

The same int8 model and JPEG bytes for all, and one thread inside each call. Every peer runs twice: with the daemon's
picture code and engine, so that only the rest differs, and as its users write it. One and two streams, closed loop over
loopback; every contender is a tree of processes, started and ended in each round. Peers live in a virtual environment
apart (``--peers-python``; extra ``bench-peers``).
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path

from benchmarks.performance.bare_runs import BUNDLE, Report, capacity, pictures_in
from benchmarks.performance.peers import own_contenders as own
from benchmarks.performance.peers.http_load import Peer, PeerFailed, serving
from benchmarks.performance.peers.mqtt_load import WINDOW
from benchmarks.performance.peers.own_contenders import Measurement, summed

STREAMS = (1, 2)
PEERS = (
    Peer("mosec, 2 workers", "mosec_server", workers=2, intra=1),
    Peer("LitServe, 2 workers", "litserve_server", workers=2, intra=1),
    Peer("MLServer, 2 threads", "mlserver_server", workers=2, intra=1),
    Peer("mosec, 2 workers, OpenCV", "mosec_server", workers=2, intra=1, pictures="opencv"),
    Peer("mosec, 2 workers, Pillow", "mosec_server", workers=2, intra=1, pictures="pillow"),
    Peer("LitServe, 2 workers, OpenCV", "litserve_server", workers=2, intra=1, pictures="opencv"),
    Peer("MLServer, 2 threads, OpenCV", "mlserver_server", workers=2, intra=1, pictures="opencv"),
)
SAME_CODE = tuple(peer for peer in PEERS if not peer.is_documented)
DOCUMENTED = tuple(peer for peer in PEERS if peer.is_documented)
_FIND_VERSIONS = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""

Contender = tuple[str, Callable[[], Report]]
"""Its name, and what gives its figures by number of streams."""


def one_round(python: Path, seconds: float, first: int, bundle: Path = BUNDLE) -> Report:
    """Every contender once: its figures by number of streams, and what the box could give at the time.

    It begins with contender number ``first``, another one each round: a box that becomes slower meanwhile favours none.
    """
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", bundle)
        found: Report = {"capacity": capacity(bundle, pictures), "contenders": {}}
        contenders = _contenders(Measurement(bundle, pictures, seconds, folder), python)
        first %= len(contenders)
        for contender, measure in contenders[first:] + contenders[:first]:
            found["contenders"][contender] = measure()
            print(f"  {contender}: {line(found['contenders'][contender])}", file=sys.stderr)
    return found


def find_versions(python: Path) -> dict[str, str]:
    """Of the peers, as their interpreter sees them; empty where they are not installed."""
    command = [str(python), "-c", _FIND_VERSIONS, "mosec", "litserve", "mlserver", "pillow", "onnxruntime"]
    done = subprocess.run(command, capture_output=True, check=False)
    return {} if done.returncode else dict(json.loads(done.stdout))


def _contenders(order: Measurement, python: Path) -> list[Contender]:
    """The daemon's ways and the peers alternate."""
    ways: list[tuple[str, Callable[[Measurement, int], Report]]] = [
        (own.FOLDER, own.from_folder),
        (own.MQTT, partial(own.over_mqtt, window=1)),
        (own.HTTP, own.over_http),
        (own.MQTT_AHEAD, partial(own.over_mqtt, window=WINDOW)),
        (own.LOOP, own.loop),
    ]
    ours = [(name, partial(_by_streams, measure, order)) for name, measure in ways]
    theirs = [(peer.name, partial(_peer, peer, order, python)) for peer in PEERS]
    return [one for pair in zip_longest(theirs, ours) for one in pair if one is not None]


def _by_streams(measure: Callable[[Measurement, int], Report], order: Measurement) -> Report:
    return {str(streams): measure(order, streams) for streams in STREAMS}


def _peer(peer: Peer, order: Measurement, python: Path) -> Report:
    raw = order.raw
    try:
        with serving(peer, python, order.bundle, raw[0], order.folder) as server:
            found = {str(streams): summed(server.load(raw, streams, order.seconds)) for streams in STREAMS}
            found["1"]["first_result_s"] = server.first_result_s
            return found
    except PeerFailed as err:
        return {str(streams): {"error": str(err)} for streams in STREAMS}


def line(figures: Report) -> str:
    """Frames a second by number of streams, for a person who waits."""
    return "  ".join(f"{n}: {one.get('frames_per_s', float('nan')):.1f}" for n, one in figures.items())
