"""Whether a bundle is for this box: the least version of the runtime and the classes of devices in its manifest."""

import platform
import re
from pathlib import Path

from edge_runtime import __version__
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.errors import BundleError

_CLASSES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64"}
_UNKNOWN = "0+unknown"
"""The version of a source tree that was never installed: nothing can be refused because of it."""


def find_device_class(machine: str | None = None) -> str:
    """The class of this box, such as x86-64 or arm64; of a machine without a name here the kernel's own."""
    known = (platform.machine() if machine is None else machine).lower()
    return _CLASSES.get(known, known)


def check_requirements(
    manifest: Manifest, path: Path | str, *, runtime: str = __version__, device: str | None = None
) -> None:
    """Refuse a bundle that is not for this box.

    Args:
        manifest: What the bundle says of itself.
        path: The bundle, for the message.
        runtime: The version of this runtime.
        device: The class of this box; None finds it out.

    Raises:
        BundleError: it needs a later runtime, or is for other devices.
    """
    requires = manifest.requires
    if requires is None:
        return
    if requires.runtime is not None and runtime != _UNKNOWN and not _is_enough(runtime, requires.runtime):
        fix = "Upgrade edge-runtime on this box, or use a bundle for this version."
        raise BundleError(path, f"edge-runtime {runtime}", f"{requires.runtime} as the bundle requires", fix)
    own = device or find_device_class()
    if requires.devices and own not in requires.devices:
        fix = "Use a bundle that was built for this device."
        listed = ", ".join(requires.devices)
        raise BundleError(path, f"a device of class {own}", f"one of {listed} as the bundle requires", fix)


def _is_enough(runtime: str, least: str) -> bool:
    """Compared number by number; what follows the numbers (rc1, .dev2) counts for nothing."""
    have, want = _numbers(runtime), _numbers(least)
    length = max(len(have), len(want))
    return have + [0] * (length - len(have)) >= want + [0] * (length - len(want))


def _numbers(version: str) -> list[int]:
    found = re.search(r"\d+(\.\d+)*", version)
    return [int(part) for part in found.group().split(".")] if found else []
