"""Recipes as an author writes them: a net in every format, pictures, and the builder's command."""

from pathlib import Path
from typing import Any

import torch
import yaml

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.from_recipe import Built, Tell, build_from_recipe, tell_nobody
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


class RecipeFolder:
    """A folder as it lies on a workstation, with a recipe of these keys in it."""

    def __init__(self, folder: Path, keys: dict[str, Any]) -> None:
        self.folder, self.keys = folder, keys

    def put(self, files: ModelFiles, suffix: str) -> None:
        """Put a model there, and name it in the recipe."""
        (self.folder / f"net.{suffix}").write_bytes(files.data)
        if files.weights is not None:
            (self.folder / "net.bin").write_bytes(files.weights)
        self.keys["model"] = f"net.{suffix}"

    def build(self, tell: Tell = tell_nobody, **keys: Any) -> Built:
        """Build the bundle of the recipe with these keys."""
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump({**self.keys, **keys}, sort_keys=False))
        return build_from_recipe(path, self.folder / "bundles", {}, tell)


class Author(RecipeFolder):
    """Of a small net on pictures."""

    def __init__(self, folder: Path) -> None:
        keys = {
            "name": "small", "preprocess": PREPROCESS, "golden": "golden", "labels": list("abcde"),
            "postprocess": {"task": "classification", "scores": "logits", "top_k": 3},
        }  # fmt: skip
        super().__init__(folder, keys)
        self.pictures("golden", range(3))

    def pictures(self, name: str, seeds: range) -> None:
        folder = self.folder / name
        folder.mkdir(parents=True)
        for seed in seeds:
            (folder / f"picture {seed}.png").write_bytes(png(colourful(seed)))

    def model(self, kind: str) -> None:
        """Put the small model there in some form, and name it in the recipe."""
        match kind:
            case "onnx":
                self.put(ModelFiles(small_model()), "onnx")
            case "openvino":
                self.put(openvino_files(), "xml")
            case "torchscript":
                self.put(ModelFiles(torchscript_bytes(SmallNet())), "pt")
            case _:
                self.checkpoint()

    def checkpoint(self, **changes: Any) -> None:
        data = {"state_dict": SmallNet().state_dict(), "preprocessing": PREPROCESS, "version": 3, **changes}
        torch.save(data, self.folder / "net.pth")
        (self.folder / "small_net_factory.py").write_text(FACTORY)
        self.keys |= {"model": "net.pth", "factory": "small_net_factory:make"}
        self.keys.pop("preprocess", None)
