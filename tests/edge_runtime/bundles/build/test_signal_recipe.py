"""Recipes of nets on signals become bundles that verify and answer, from every kind of model."""

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.offline import answer_files, verify_bundle
from tests.support.signal_author import SignalAuthor
from tests.support.signal_bundles import LABELS

pytestmark = pytest.mark.integration
KINDS = ("onnx", "openvino", "torchscript", "checkpoint")


def share_right(bundle: Path, folder: Path) -> float:
    """Of the windows in a folder, which are of each class in turn."""
    answers = list(answer_files(bundle, sorted(folder.iterdir())))
    right = [one["top"][0]["label"] == LABELS[i % len(LABELS)] for i, one in enumerate(answers)]
    return float(np.mean(right))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_becomes_a_bundle_that_verifies_and_answers(tmp_path, kind):
    author = SignalAuthor(tmp_path)
    author.model(kind)
    built = author.build()
    assert verify_bundle(built.path)["windows"] == 4
    assert share_right(built.path, author.windows("new", 24, seed=11)) > 0.9
    assert all(golden.window for golden in load_bundle(built.path).manifest.golden)
