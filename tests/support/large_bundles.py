"""A small bundle with one large file in it, which takes long enough to be interrupted on its way."""

import hashlib
import random
from pathlib import Path

from tests.support.bundle_builds import edit
from tests.support.signed_bundles import build_small

LARGE_BYTES = 48 * 1024 * 1024


def build_large(folder: Path, version: int = 1) -> Path:
    """Build ``folder/small/<version>`` with ``large.bin``."""
    bundle = build_small(folder, version)
    data = random.Random(version).randbytes(LARGE_BYTES)
    (bundle / "large.bin").write_bytes(data)
    edit(bundle, lambda read: read["files"].update({"large.bin": hashlib.sha256(data).hexdigest()}))
    return bundle
