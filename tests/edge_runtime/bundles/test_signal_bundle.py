"""A bundle of signals is built, checked and answered like one of pictures."""

import numpy as np
import pytest

from edge_runtime.bundles.manifest import Golden
from edge_runtime.bundles.self_test import self_test
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.preprocess import make_preprocessor
from tests.support.bundle_builds import edit, failure
from tests.support.signal_bundles import (
    build_signal_bundle,
    machine_windows,
    signal_model,
    signal_spec,
)


@pytest.mark.parametrize("layout", ["nct", "ntc"])
def test_a_bundle_of_signals_passes_its_self_test(tmp_path, layout):
    model = signal_model(layout=layout)
    bundle = load_bundle(build_signal_bundle(tmp_path, model=model, preprocess=signal_spec(layout=layout)))
    assert self_test(bundle, OnnxEngine(bundle.model_files.data)).worst < 1e-3


def test_a_net_of_signals_with_live_batch_norm_gets_factory_moments(tmp_path):
    bundle = load_bundle(build_signal_bundle(tmp_path, healthy=32))
    assert bundle.manifest.calibration.moments is not None
    assert not bundle.manifest.calibration.no_moments


def test_windows_are_answered_as_they_should():
    engine, preprocessor = OnnxEngine(signal_model()), make_preprocessor(signal_spec())
    samples = [
        preprocessor.prepare(Frame("pump", i, one, 0.0, 0.0)) for i, one in enumerate(machine_windows(200, 3))
    ]
    assert all(isinstance(sample, Sample) for sample in samples)
    answers = engine.infer(np.stack([sample.tensor for sample in samples]))["logits"].argmax(axis=1)
    assert (answers == np.arange(200) % 4).mean() > 0.9


def test_golden_windows_are_named_so_in_the_manifest(tmp_path):
    [first, *_] = load_bundle(build_signal_bundle(tmp_path)).manifest.golden
    assert first.model_dump() == {"window": "golden/g0.npy", "expected": "golden/g0.safetensors"}


@pytest.mark.parametrize("entry", [{}, {"picture": "golden/g0.png", "window": "golden/g0.npy"}])
def test_a_golden_entry_has_one_input(entry):
    with pytest.raises(ValueError, match="picture"):
        Golden.model_validate({**entry, "expected": "golden/g0.safetensors"})


def test_a_signal_bundle_with_a_golden_picture_is_refused(tmp_path):
    path = build_signal_bundle(tmp_path)

    def as_picture(data):
        data["golden"][0]["picture"] = data["golden"][0].pop("window")

    edit(path, as_picture)
    with pytest.raises(BundleError):
        load_bundle(path)


def with_normalisation(factor):
    """The channels with mean and std times a factor; None: with none."""
    channels = [channel.model_dump() for channel in signal_spec().channels]
    plain = {"mean": 0.0, "std": 1.0}
    return [
        {**one, **(plain if factor is None else {name: one[name] * factor for name in plain})}
        for one in channels
    ]


@pytest.mark.parametrize(("right", "wrong", "named"), [(1, 9.80665, "9.80665"), (None, 1, "no mean and std")])
def test_the_mistake_that_explains_other_answers_is_named(tmp_path, right, wrong, named):
    spec = signal_spec(channels=with_normalisation(right))
    path = build_signal_bundle(tmp_path, preprocess=spec, tolerance=0.05)
    edit(path, lambda data: data["preprocess"].update(channels=with_normalisation(wrong)))
    assert named in failure(path)
