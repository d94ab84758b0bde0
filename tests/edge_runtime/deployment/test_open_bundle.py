"""A model of the configuration is opened, noted and refused with the place it stands at."""

import pytest

from edge_runtime.config import Config, EngineConfig, parse_config
from edge_runtime.config.trust import TrustConfig
from edge_runtime.deployment.open_bundle import load_model_bundle, open_bundle, open_newer
from edge_runtime.errors import BundleError, EngineError
from tests.support.fake_engine import FakeEngine
from tests.support.signal_bundles import build_signal_bundle, signal_spec
from tests.support.signed_bundles import Publisher, build_small

pytestmark = pytest.mark.integration


def config_of(tmp_path, **models):
    entries = {name: {"bundle": str(bundle)} for name, bundle in models.items()}
    cameras = {"belt": {"path": "demo:conveyor", "model": next(iter(models))}}
    return Config.model_validate(
        {"device": "box", "state_dir": str(tmp_path), "models": entries, "cameras": cameras}
    )


def test_no_cpus_are_promised_where_the_runtime_places_its_threads_itself(tmp_path):
    config = config_of(tmp_path, a="demo:efficientnet-lite0")
    engine = EngineConfig(runtime="openvino", pin_threads=True)
    edited = config.model_copy(
        update={"models": {"a": config.models["a"].model_copy(update={"engine": engine})}}
    )
    opened = open_bundle(edited, "a")
    assert opened.plan.cpus == ()
    assert opened.plan.why.endswith("not bound: OpenVINO places its threads itself")
    opened.engine.close()


TWO_MODELS = """\
device: box
state_dir: {folder}
models:
  good: {{bundle: demo:efficientnet-lite0}}
  bad: {{bundle: demo:efficientnet-lite0, engine: {{devices: [GPU]}}}}
cameras: {{belt: {{path: demo:conveyor, model: good}}}}
"""


def test_a_bundle_folder_that_is_not_there_is_told_from_one_without_the_version(tmp_path):
    (tmp_path / "empty").mkdir()
    config = config_of(tmp_path, gone=tmp_path / "gone", empty=tmp_path / "empty")
    with pytest.raises(BundleError, match=r"models\.gone: .*/gone"):
        open_bundle(config, "gone")
    with pytest.raises(BundleError, match=r"models\.empty: .*/empty"):
        open_bundle(config, "empty")


def test_an_engine_that_fails_the_self_test_is_closed(tmp_path, monkeypatch):
    engine = FakeEngine()  # for pictures of another size
    monkeypatch.setattr("edge_runtime.deployment.open_bundle.open_bundle_engine", lambda *_: engine)
    with pytest.raises(BundleError, match="models\\.a"):
        open_bundle(config_of(tmp_path, a="demo:efficientnet-lite0"), "a")
    assert engine.is_closed


def test_what_does_not_count_is_noted_with_the_engine(tmp_path):
    config = config_of(tmp_path, a="demo:efficientnet-lite0")
    engine = EngineConfig(devices=("CUDA", "CPU"), precision="bf16")
    edited = config.model_copy(
        update={"models": {"a": config.models["a"].model_copy(update={"engine": engine})}}
    )
    opened = open_bundle(edited, "a")
    opened.engine.close()
    assert [note.partition(":")[0] for note in opened.notes] == ["engine.devices", "engine.precision"]


def test_an_error_of_an_engine_says_which_model_it_is_about_and_its_line(tmp_path):
    config = parse_config(TWO_MODELS.format(folder=tmp_path), "box.yaml", {})
    with pytest.raises(EngineError, match=r"^line 5: models\.bad: .*GPU") as caught:
        open_bundle(config, "bad")
    assert (caught.value.where, caught.value.line) == ("models.bad", 5)
    assert caught.value.reason_text.startswith("no device of GPU")


def test_a_configuration_does_not_differ_by_its_lines(tmp_path):
    text = TWO_MODELS.format(folder=tmp_path)
    assert parse_config(text, "box.yaml", {}) == parse_config(f"# a comment\n{text}", "box.yaml", {})


def test_an_untrusted_version_is_skipped_for_a_trusted_one(tmp_path):
    publisher, root = Publisher(tmp_path / "keys"), tmp_path / "bundles"
    publisher.sign(build_small(root))
    build_small(root, version=2)
    plain = config_of(tmp_path, a=root / "small", demo="demo:efficientnet-lite0")
    config = plain.model_copy(update={"trust": TrustConfig(keys=(publisher.public,), require_signed=True)})
    opened = open_bundle(config, "a")
    opened.engine.close()
    assert opened.bundle.id == "small/1"
    assert opened.bundle.signed_by == publisher.key_id
    assert opened.skipped is not None
    assert "unsigned" in opened.skipped.reason
    assert load_model_bundle(config, "a").id == "small/1"
    assert load_model_bundle(config, "demo").signed_by is None  # it came with the code
    revoked = config.model_copy(
        update={"trust": config.trust.model_copy(update={"revoked": (publisher.key_id,)})}
    )
    with pytest.raises(BundleError, match=r"models\.a"):
        open_bundle(revoked, "a")


def test_a_bundle_of_windows_is_refused_for_a_camera_and_one_of_pictures_for_a_sensor(tmp_path):
    windows = build_signal_bundle(tmp_path / "bundles").parent
    camera = config_of(tmp_path, a=windows)
    sensor = Config.model_validate({
        "device": "box", "state_dir": str(tmp_path), "models": {"a": {"bundle": "demo:efficientnet-lite0"}},
        "sensors": {"pump": {"path": "a.csv", "model": "a"}},
    })  # fmt: skip
    for config, stream in ((camera, "belt"), (sensor, "pump")):
        with pytest.raises(BundleError) as err:
            open_bundle(config, "a")
        assert stream in err.value.found
        assert err.value.where == "models.a"


@pytest.mark.parametrize(
    "keys", [{"payload": {"rate_hz": 1e7}}, {"payload": {"format": "csv", "decimal": ","}}]
)
def test_a_sensor_whose_section_contradicts_its_bundle_is_refused_before_it_sends(tmp_path, keys):
    bundle = build_signal_bundle(tmp_path / "bundles").parent
    sensor = {"path": "a.csv", "model": "a", **keys}
    config = Config.model_validate({
        "device": "box", "state_dir": str(tmp_path), "models": {"a": {"bundle": str(bundle)}},
        "sensors": {"pump": sensor},
    })  # fmt: skip
    with pytest.raises(BundleError) as err:
        open_bundle(config, "a")
    assert "sensors.pump" in err.value.found
    without = {"pump": config.sensors["pump"].model_copy(update={"enabled": False})}
    open_bundle(config.model_copy(update={"sensors": without}), "a").engine.close()


@pytest.mark.parametrize(
    ("spec", "said"),
    [({"rate_hz": 50.0}, "512"), ({"channels": [{"name": name} for name in ("ax", "ay", "b")]}, "b")],
    ids=["another rate", "another channel"],
)
def test_a_newer_version_with_other_windows_is_refused_before_it_is_tried(tmp_path, spec, said):
    first = build_signal_bundle(tmp_path / "bundles")
    build_signal_bundle(tmp_path / "bundles", version=2, preprocess=signal_spec(**spec))
    config = Config.model_validate({
        "device": "box", "state_dir": str(tmp_path), "models": {"a": {"bundle": str(first.parent), "rollout": {}}},
        "sensors": {"pump": {"path": "a.csv", "model": "a"}},
    })  # fmt: skip
    active = signal_spec()
    with pytest.raises(BundleError) as err:
        open_newer(config, "a", 2, lambda: False, active)
    assert said in err.value.found
    assert "version: 2" in err.value.fix
    build_signal_bundle(tmp_path / "bundles", version=3, preprocess=signal_spec(hop=64, late_s=1))
    open_newer(config, "a", 3, lambda: False, active).engine.close()
