"""The bare engine in a separate process, and the frame rate that two callers reach on this box now.

The second core of a rented box gives at times half of the first one, because others use it: every figure with two
streams comes with the ``capacity`` of the moment.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.inputs import write_inputs

BUNDLE = Path(__file__).parents[2] / "edge_runtime/sources/demo/bundle/efficientnet-lite0/1"
SIZE = (1280, 720)
WEAK_CAPACITY = 1.5
"""Below this the box had no two cores to give; a round measured then says little about two streams."""

Report = dict[str, Any]


def pictures_in(folder: Path, bundle: Path = BUNDLE, size: tuple[int, int] = SIZE) -> list[Path]:
    """The bundle's golden pictures as JPEGs of this size, in a new folder."""
    folder.mkdir(parents=True)
    return write_inputs(load_bundle(bundle), None, size, folder)


def bare(
    bundle: Path,
    pictures: Sequence[Path],
    seconds: float,
    *,
    callers: int = 1,
    intra: int = 1,
    fps: float | None = None,
    prepares: bool = False,
) -> Report:
    """Engine calls in a loop, with or without the picture code; see ``edge_runtime.cli.bench.bare``."""
    with tempfile.TemporaryDirectory(prefix="bare-") as name:
        folder = Path(name)
        config = {
            "device": "bench",
            "state_dir": str(folder),
            "models": {MODEL: {"bundle": str(bundle.resolve())}},
            "cameras": {"camera": {"path": str(pictures[0].parent), "model": MODEL}},
        }
        (folder / "box.yaml").write_text(json.dumps(config))
        order: Report = {"config": str(folder / "box.yaml"), "inputs": [str(path) for path in pictures]}
        order |= {"intra": intra, "callers": callers, "seconds": seconds, "fps": fps, "prepares": prepares}
        (folder / "order.json").write_text(json.dumps(order))
        command = [sys.executable, "-m", "edge_runtime.cli.bench.bare", str(folder / "order.json")]
        done = subprocess.run(command, capture_output=True, check=True, timeout=seconds + 60)
    found: Report = json.loads(done.stdout)
    return found


def capacity(bundle: Path, pictures: Sequence[Path], seconds: float = 1.5) -> float:
    """Frames a second of two bare callers over those of one: 2 on two free cores, 1 on one."""
    one, two = (bare(bundle, pictures, seconds, callers=callers)["frames_per_s"] for callers in (1, 2))
    return float(two / one)
