"""Further versions of the demo's bundle, good ones and ones that are broken as publishers break them."""

import hashlib
import shutil
from pathlib import Path

import yaml

from tests.support.paths import ROOT

DEMO_BUNDLE = ROOT / "edge_runtime" / "sources" / "demo" / "bundle" / "efficientnet-lite0" / "1"


def put_version(root: Path, version: int, change=lambda manifest, folder: None, name="parts") -> Path:
    """The demo's bundle as another version, there at once or not at all; ``change`` breaks it."""
    folder, incoming = root / str(version), root / f".{version}"
    shutil.copytree(DEMO_BUNDLE, incoming)
    manifest = yaml.safe_load((incoming / "bundle.yaml").read_text())
    manifest |= {"name": name, "version": version}
    change(manifest, incoming)
    manifest["files"] = {
        path: hashlib.sha256((incoming / path).read_bytes()).hexdigest() for path in manifest["files"]
    }
    (incoming / "bundle.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    incoming.rename(folder)
    return folder


def with_wrong_labels(manifest, folder):
    """The names one class off."""
    path = folder / manifest["labels"]
    names = path.read_text().splitlines()
    path.write_text("\n".join([*names[1:], names[0]]) + "\n")
