"""What the bundle of a first configuration takes: pictures of cameras, or windows of sensors."""

from contextlib import suppress
from pathlib import Path


def takes_windows(bundle: str, folder: Path, state_dir: Path) -> bool:
    """Whether a bundle takes windows of sensors; False where it cannot be found or read, as the demo's pictures.

    ``bundle`` is as in a configuration that lies in ``folder``, from which relative paths count.
    """
    from edge_runtime.bundles.manifest import MANIFEST_FILE
    from edge_runtime.bundles.verify import read_manifest
    from edge_runtime.config.bundles import find_bundle_root
    from edge_runtime.errors import BundleError

    root = folder / find_bundle_root(bundle, folder / state_dir / "bundles")
    for version in (root, *(path.parent for path in sorted(root.glob(f"*/{MANIFEST_FILE}")))):
        with suppress(BundleError):
            return read_manifest(version).preprocess.noun == "window"
    return False
