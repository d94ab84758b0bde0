"""A classifier with more outputs than its scores: the answers are read from the output that is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import calibration
from calibration.baseline.baseline import Baseline
from calibration.cli.main import cli
from calibration.errors import BaselineError, ModelError
from calibration.stats.moments import ANSWERS_TAP
from tests.support.onnx_nets import hazy, pictures
from tests.support.torch_nets import classifier, quiet, saved, traced

pytestmark = pytest.mark.integration


class BothOutputs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = classifier()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.net(x)
        return {"prob": scores.softmax(1), "scores": scores}


@pytest.fixture(scope="module")
def model() -> bytes:
    net = BothOutputs().eval()
    with quiet(), torch.no_grad():
        return saved(torch.jit.trace(net, torch.zeros(2, 3, 16, 16), strict=False, check_trace=False))


@pytest.fixture(scope="module")
def baseline(model: bytes) -> Baseline:
    return calibration.profile(model, pictures(64), output="scores")


def test_the_verdict_is_that_of_the_model_with_this_output_alone(model: bytes, baseline: Baseline) -> None:
    alone, live = traced(classifier()), hazy(pictures(64, seed=5), 0.4, 0.5)
    wanted = calibration.recalibrate(alone, calibration.profile(alone, pictures(64)), live)
    found = calibration.recalibrate(model, baseline, live)
    assert wanted.accepted
    assert (found.candidate, found.reasons) == (wanted.candidate, wanted.reasons)
    assert ANSWERS_TAP in baseline.frames


def test_without_the_name_nothing_can_be_judged(model: bytes) -> None:
    blind = calibration.profile(model, pictures(64))
    assert blind.healthy_samples is not None
    assert blind.healthy_samples.answers is None
    verdict = calibration.recalibrate(model, blind, hazy(pictures(64, seed=5)))
    assert "No candidate can be judged" in verdict.reasons[0]


def test_an_older_baseline_is_read_anew_from_the_named_output(model: bytes, baseline: Baseline) -> None:
    live, options = hazy(pictures(64, seed=5), 0.4, 0.5), calibration.Options(output="scores")
    older = calibration.profile(model, pictures(64))
    wanted, found = (calibration.recalibrate(model, b, live, options=options) for b in (baseline, older))
    assert found.accepted
    assert (found.candidate, found.reasons) == (wanted.candidate, wanted.reasons)


def test_the_file_keeps_the_name_and_older_files_have_none(baseline: Baseline, tmp_path: Path) -> None:
    baseline.save(tmp_path / "b")
    assert Baseline.load(tmp_path / "b").output == "scores"
    data = (tmp_path / "b").read_bytes()
    (tmp_path / "old").write_bytes(data.replace(rb"\"output\"", rb"\"0utput\""))
    assert data != (tmp_path / "old").read_bytes()
    assert Baseline.load(tmp_path / "old").output is None


def test_a_name_that_the_model_does_not_have_is_refused(model: bytes, baseline: Baseline) -> None:
    words = "'logits'.*prob, scores"
    with pytest.raises(ModelError, match=words):
        calibration.profile(model, pictures(16), output="logits")
    with pytest.raises(ModelError, match=words):
        calibration.recalibrate(model, baseline, pictures(16), options=calibration.Options(output="logits"))


def test_baselines_of_different_outputs_are_not_pooled(model: bytes, baseline: Baseline) -> None:
    other = calibration.profile(model, pictures(64, seed=9), output="prob")
    with pytest.raises(BaselineError, match="prob and scores"):
        calibration.pool([baseline, other])
    assert calibration.pool([replace(other, output=None), baseline]).output == "scores"


def test_the_command_line_takes_the_name(model: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(model)
    np.savez(tmp_path / "x.npz", x=pictures(64))
    np.savez(tmp_path / "live.npz", x=hazy(pictures(64, seed=5), 0.4, 0.5))
    given = [str(tmp_path / "m.pt"), "--output", "scores", "--json"]
    runner, files = CliRunner(), {name: str(tmp_path / name) for name in ("x.npz", "live.npz", "b", "p")}
    made = runner.invoke(cli, ["profile", *given, "--data", files["x.npz"], "--out", files["b"]])
    assert made.exit_code == 0, made.output
    reference = ["--baseline", files["b"], "--reference", files["live.npz"], "--out", files["p"]]
    found = runner.invoke(cli, ["recalibrate", *given, *reference])
    assert json.loads(found.stdout)["accepted"] is True
