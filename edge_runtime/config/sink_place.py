"""Whether the local file of results may be where the configuration puts it.

Results are appended there, the file is cut after its last line, and it is renamed when it is full: nothing else may
have one of its names. The disk is only looked at, but for the first bytes of a file that is there.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from calibration.stats.regular_file import read_regular
from edge_runtime.config.shape import Config

STATE_FOLDERS = ("bundles", "cache", "config-history", "last-good", "models", "streams")
STATE_FILES = re.compile(r"lock|commands\.used|outbox.*\.db.*")
ROTATED = ("", ".1", ".2")
"""What the sink puts behind the configured name."""
_RESULT = re.compile(rb'\s*\{\s*"topic"\s*:')
_FIRST_BYTES = 4096


def find_sink_problem(config: Config, own_file: Path | None) -> str | None:
    """What is wrong with ``sink.path``; None when nothing is, or it is not set.

    Args:
        config: Its paths are absolute.
        own_file: Where the configuration was read from.
    """
    if config.sink is None or config.sink.path is None:
        return None
    for ending in ROTATED:
        path = config.sink.path.with_name(config.sink.path.name + ending)
        for owner, other, is_deep in _others(config, own_file):
            if _overlaps(path, other, is_deep=is_deep):
                return f"{path}, which is {owner}"
        if _is_of_state(path, config.state_dir):
            return f"{path}, which is kept for the daemon's state"
        found = _look_at(path)
        if found is not None:
            return f"{path}, {found}"
    return None


def _others(config: Config, own_file: Path | None) -> Iterator[tuple[str, Path, bool]]:
    """Files and folders of others: words, path, and whether folders below belong to it too."""
    if own_file is not None:
        yield "this configuration", own_file, False
    if config.mqtt is not None:
        tls = config.mqtt.tls
        secrets = (config.mqtt.password_file, *((tls.ca, tls.cert, tls.key) if tls is not None else ()))
        yield from (("a secret of the broker", path, False) for path in secrets if path is not None)
    for name, camera in config.cameras.items():
        path = camera.address.local_path
        if path is not None:
            yield f"a picture or in the folder of camera {name!r}", path, camera.subfolders
    for name, sensor in config.sensors.items():
        folder = sensor.address.local_path
        if folder is not None:
            yield f"a file or in the folder of sensor {name!r}", folder, sensor.subfolders
    for name in config.models:
        yield f"in the bundle of model {name!r}", config.bundle_root(name), True
    reference = config.recalibration.reference
    folders = [*reference.sets.values(), *([] if reference.folder is None else [reference.folder])]
    yield from (("in a folder of recalibration.reference", folder, True) for folder in folders)


def _overlaps(path: Path, other: Path, *, is_deep: bool) -> bool:
    """Whether ``path`` is the other, by any name, or lies in it."""
    real, real_other = Path(os.path.realpath(path)), Path(os.path.realpath(other))
    if real == real_other or real.parent == real_other or (is_deep and real_other in real.parents):
        return True
    try:
        return path.samefile(other)  # a hard link
    except OSError:
        return False


def _is_of_state(path: Path, state_dir: Path) -> bool:
    real, root = Path(os.path.realpath(path)), Path(os.path.realpath(state_dir))
    if any(_overlaps(path, root / name, is_deep=True) for name in STATE_FOLDERS):
        return True
    return real == root or (real.parent == root and STATE_FILES.fullmatch(real.name) is not None)


def _look_at(path: Path) -> str | None:
    """Why the sink cannot go on with what is there."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return "which is a folder" if stat.S_ISDIR(mode) else "which is a pipe or a device"
        first = read_regular(path, _FIRST_BYTES).lstrip(b"\0 \r\n")  # a power cut may leave zeros
    except NotADirectoryError:
        return "a part of which before the last is a file"
    except OSError:  # nothing there yet, or it cannot be seen now: the sink tells when it cannot write
        return None
    is_ours = not first or _RESULT.match(first) or b'{"topic":'.startswith(first)
    return None if is_ours else "a file that does not hold results"
