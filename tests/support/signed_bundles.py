"""A small built bundle, and keys to sign it with."""

import shutil
from pathlib import Path

from edge_runtime.bundles.signing.ec_keys import load_private_key, make_key_pair, public_path
from edge_runtime.bundles.signing.sign import sign_bundle
from tests.support.bundle_builds import build
from tests.support.bundle_models import small_model


class Publisher:
    """A person with a key, who signs bundles."""

    def __init__(self, folder: Path, name: str = "publisher.pem") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.private = folder / name
        self.key_id = make_key_pair(self.private).id
        self.public = public_path(self.private)

    def sign(self, bundle: Path) -> Path:
        """Sign it; returns the bundle."""
        sign_bundle(bundle, load_private_key(self.private))
        return bundle


def build_small(folder: Path, version: int = 1) -> Path:
    """Build ``folder/small/<version>``, unsigned."""
    return build(folder, small_model(), version=version)


def copy_bundle(bundle: Path, folder: Path) -> Path:
    """A copy as ``folder/<name>/<version>``."""
    return shutil.copytree(bundle, folder / bundle.parent.name / bundle.name)
