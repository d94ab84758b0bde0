"""Recipes as an author writes them: a net in every format, pictures, and the builder's command."""

from pathlib import Path
from typing import Any

import torch
import yaml

from edge_runtime.bundles.build.from_recipe import build_from_recipe
from edge_runtime.inference.engines.threads import ThreadPlan
from tests.support.bundle_models import SIDE, colourful, png, small_model
from tests.support.engine_models import SmallNet, openvino_files, torchscript_bytes

ALONE = ThreadPlan(1, 1, "test")


PREPROCESS = {
    "colour": "rgb", "width": SIDE, "height": SIDE, "geometry": "stretch", "filter": "area",
    "mean": [120.0, 110.0, 100.0], "std": [60.0, 61.0, 62.0],
}  # fmt: skip


FACTORY = """
from tests.support.engine_models import SmallNet

def make(channels=8):
    assert channels == 8
    return SmallNet()
"""


class Author:
    """A folder with pictures and models, as it lies on a workstation, and the recipe in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures("golden", range(3))
        self.keys: dict[str, Any] = {
            "name": "small", "preprocess": PREPROCESS, "golden": "golden", "labels": list("abcde"),
            "postprocess": {"task": "classification", "scores": "logits", "top_k": 3},
        }  # fmt: skip

    def pictures(self, name: str, seeds: range) -> None:
        folder = self.folder / name
        folder.mkdir(parents=True)
        for seed in seeds:
            (folder / f"picture {seed}.png").write_bytes(png(colourful(seed)))

    def model(self, kind: str) -> None:
        """Put the small model there in some form, and name it in the recipe."""
        match kind:
            case "onnx":
                (self.folder / "net.onnx").write_bytes(small_model())
                self.keys["model"] = "net.onnx"
            case "openvino":
                files = openvino_files()
                (self.folder / "net.xml").write_bytes(files.data)
                (self.folder / "net.bin").write_bytes(files.weights or b"")
                self.keys["model"] = "net.xml"
            case "torchscript":
                (self.folder / "net.pt").write_bytes(torchscript_bytes(SmallNet()))
                self.keys["model"] = "net.pt"
            case _:
                self.checkpoint()

    def checkpoint(self, **changes: Any) -> None:
        data = {"state_dict": SmallNet().state_dict(), "preprocessing": PREPROCESS, "version": 3, **changes}
        torch.save(data, self.folder / "net.pth")
        (self.folder / "small_net_factory.py").write_text(FACTORY)
        self.keys |= {"model": "net.pth", "factory": "small_net_factory:make"}
        self.keys.pop("preprocess", None)

    def build(self, **keys: Any) -> Any:
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump({**self.keys, **keys}, sort_keys=False))
        return build_from_recipe(path, self.folder / "bundles", {})
