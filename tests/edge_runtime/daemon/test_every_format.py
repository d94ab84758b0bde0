"""A bundle of every format, from building it to a patch that is active after a restart."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

import calibration
from calibration.baseline.metadata import BaselineFacts
from calibration.patch import Affine
from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.self_test import self_test
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.config import DriftConfig, RecalibrationConfig, ReferenceConfig
from edge_runtime.daemon.wiring.models import build_engine
from edge_runtime.daemon.wiring.recalibration import identify_bundle
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.open_bundle import OpenedModel
from edge_runtime.errors import BundleError, EngineError, EngineMissing
from edge_runtime.inference.engines.factory import DEFAULTS, open_engine
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.specs import ClassificationSpec, PictureSpec
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.job import worker
from edge_runtime.recalibration.job.messages import REQUEST, RESULT, CommissioningResult, JobRequest
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from tests.support.bundle_models import SIDE, colourful, png, small_model
from tests.support.engine_models import FILES, SmallNet, torchscript_bytes

pytestmark = pytest.mark.integration

PREPROCESS = PictureSpec(
    colour="rgb",
    width=SIDE,
    height=SIDE,
    geometry="stretch",
    filter="area",
    mean=(120, 110, 100),
    std=(60, 61, 62),
)
GOLDEN = {f"g{i}.png": png(colourful(i)) for i in range(3)}
ALONE = ThreadPlan(1, 1, "test")
FORMATS = sorted(FILES)


def built(folder: Path, model_format: str, model: ModelFiles | None = None) -> Bundle:
    files = model or FILES[model_format]()
    recipe = Recipe("small", 1, PREPROCESS, ClassificationSpec(scores="logits", top_k=3))
    engine = open_engine(FILES[model_format](), model_format, PREPROCESS.tensor_shape, ALONE)
    return load_bundle(build_bundle(recipe, Materials(files, GOLDEN), engine, folder))


@pytest.mark.parametrize("model_format", FORMATS)
def test_a_bundle_that_was_built_loads_passes_and_is_inspect_bundle(
    tmp_path: Path, model_format: str
) -> None:
    from edge_runtime.cli.offline import inspect_bundle, verify_bundle

    bundle = built(tmp_path, model_format)
    assert bundle.manifest.format == model_format
    assert self_test(bundle, open_bundle_engine(bundle, ALONE)).worst < 1e-4
    assert verify_bundle(bundle.path)["ok"] is True
    assert inspect_bundle(bundle.path)["calibration"]["channels"] == 8


def job_folder(folder: Path, bundle: Bundle, kind: Kind, baseline: Path) -> Path:
    settings = RecalibrationConfig(reference=ReferenceConfig(frames=32), memory_mib=4096)
    folder.mkdir(parents=True)
    request = JobRequest(
        kind,
        Cause.COMMAND,
        9.0,
        bundle.path,
        baseline,
        ChosenReference(),
        32,
        settings,
        BaselineFacts(),
        (),
        bundle.manifest.sha256,
    )
    REQUEST.write(folder, request)
    return folder


def frames(count: int, haze: float = 0.0) -> io.BytesIO:
    pictures = np.stack([colourful(i, SIDE, SIDE)[..., ::-1] for i in range(count)])
    file = io.BytesIO()
    np.save(file, ((1 - haze) * pictures + haze * 200).astype(np.uint8), allow_pickle=False)
    file.seek(0)
    return file


@pytest.mark.parametrize("model_format", FORMATS)
def test_from_commissioning_to_a_patch_that_survives_a_restart(
    tmp_path: Path, model_format: str, monkeypatch
) -> None:
    monkeypatch.setattr(worker, "_limit_this_process", lambda settings: None)
    bundle = built(tmp_path / "bundles", model_format)
    model_state = ModelState.open(tmp_path / "state", "small")
    folder = job_folder(model_state.jobs / "one", bundle, Kind.COMMISSION, model_state.jobs / "none")
    worker.main(folder, frames(32))
    result = RESULT.read(folder)
    assert isinstance(result, CommissioningResult)
    assert result.frames == 32
    identity = identify_bundle(bundle)
    context = ModelContext("small", bundle.path, identity, model_state, [].append, lambda: 9.0, lambda: 9.0)
    baselines = ActiveBaselines(context, DriftWatch(None), DriftConfig())
    baseline = baselines.take(folder)
    assert baselines.usable, baselines.problems

    probe_files = calibration.targets.model_files.read(model_state.probe_path(identity.model_sha256))
    probe = open_engine(probe_files, model_format, PREPROCESS.tensor_shape, ALONE)
    assert {name.rsplit("/", 1)[1] for name in probe.infer(np.zeros((1, 3, SIDE, SIDE), np.float32))} == {
        "mean",
        "var",
    }

    again = job_folder(
        model_state.jobs / "two", bundle, Kind.RECALIBRATE, model_state.baselines / "default.safetensors"
    )
    worker.main(again, frames(32, haze=0.5))
    report = RESULT.read(again)
    assert isinstance(report, RecalibrationReport)
    assert report.reasons, report

    tap, channels = next((name, m.mean.size) for name, m in baseline.moments.items() if name != "input")
    corrected = Affine(np.full(channels, 1.5, np.float32), np.full(channels, 0.1, np.float32))
    patch = calibration.Patch({tap: corrected}, identity.model_sha256, baseline.id, "test", 32, 9.0)
    digest = worker._store_patch(again / "made", bundle, patch)
    (again / "made" / "report.json").write_bytes(orjson.dumps({"model_sha256": digest}))
    model_state.adopt(again / "made", "p1")

    patched = ModelState.open(tmp_path / "state", "small").read_patched("p1")
    restored = patched.model
    assert restored.sha256 == digest
    base = OpenedModel(bundle, bundle.model_files, ALONE, DEFAULTS, open_bundle_engine(bundle, ALONE))
    build_engine(base, patched).close()
    other = {name: array + 1 for name, array in patched.answers.items()}
    with pytest.raises(EngineError):
        build_engine(base, replace(patched, answers=other))
    x = np.random.default_rng(0).normal(0, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
    before, after = (
        next(iter(open_bundle_engine(bundle, ALONE, model=m).infer(x).values())) for m in (None, restored)
    )
    assert not np.allclose(before, after)


def test_a_torchscript_file_that_torch_cannot_open_is_refused_by_the_child(tmp_path: Path) -> None:
    bundle = built(tmp_path, "torchscript")
    assert check_in_sandbox(bundle) is not None
    with pytest.raises(BundleError, match="in time"):
        check_in_sandbox(bundle, timeout_s=0.01)


def test_without_torch_the_child_is_not_asked_and_the_engine_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = built(tmp_path, "torchscript")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "edge_runtime.inference.engines.torchscript_engine", raising=False)
    check_in_sandbox(bundle)
    with pytest.raises(EngineMissing, match="pip install"):
        open_bundle_engine(bundle, ALONE)


def test_a_torchscript_model_for_other_pictures_is_refused_before_the_daemon_opens_it(tmp_path: Path) -> None:
    class Wide(SmallNet):
        def forward(self, image):
            return self.conv(image.view(-1, 3, 48, 48)).mean([2, 3])

    bundle = built(tmp_path, "torchscript")
    path = bundle.path / "model.pt"
    path.write_bytes(torchscript_bytes(Wide()))
    import hashlib

    files = {**bundle.manifest.files, "model.pt": hashlib.sha256(path.read_bytes()).hexdigest()}
    other = Bundle(bundle.path, bundle.manifest.model_copy(update={"files": files}), ())
    with pytest.raises(BundleError, match="shape"):
        check_in_sandbox(other)


def test_a_model_of_one_format_called_by_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="ONNX"):
        built(tmp_path, "onnx", ModelFiles(small_model()[:-200]))
