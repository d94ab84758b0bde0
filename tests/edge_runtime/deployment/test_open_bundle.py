"""Models are opened while the rest is imported: each is given once, and only to the configuration it was opened for."""

import pytest

from edge_runtime.config import Config, EngineConfig, parse_config
from edge_runtime.deployment.open_bundle import OpenAhead, open_bundle
from edge_runtime.errors import BundleError, EngineError


def config_of(tmp_path, **models):
    entries = {name: {"bundle": str(bundle)} for name, bundle in models.items()}
    cameras = {"belt": {"path": "demo:conveyor", "model": next(iter(models))}}
    return Config.model_validate(
        {"device": "box", "state_dir": str(tmp_path), "models": entries, "cameras": cameras}
    )


def test_gives_what_was_opened_ahead_once_and_opens_again_after_that(tmp_path):
    config = config_of(tmp_path, a="demo:efficientnet-lite0", b="demo:efficientnet-lite0")
    with OpenAhead(config) as ahead:
        first, again = ahead.open_bundle(config, "a"), ahead.open_bundle(config, "a")
    assert first.bundle.id == again.bundle.id
    assert first.engine is not again.engine
    first.engine.warm_up()  # what was taken stays open


def test_another_configuration_gets_an_engine_of_its_own(tmp_path):
    config = config_of(tmp_path, a="demo:efficientnet-lite0")
    edited = config.model_copy(update={"models": {"a": config.models["a"].model_copy(update={"threads": 2})}})
    with OpenAhead(config) as ahead:
        assert ahead.open_bundle(edited, "a").plan.intra == 2


def test_what_nobody_took_is_closed(tmp_path):
    with OpenAhead(config_of(tmp_path, a="demo:efficientnet-lite0")) as ahead:
        engine = ahead._bases["a"].result().engine
        engine.warm_up()
    with pytest.raises(EngineError, match="closed"):
        engine.warm_up()


def test_a_bundle_that_cannot_be_opened_is_told_where_it_is_asked_for(tmp_path):
    config = config_of(tmp_path, good="demo:efficientnet-lite0", bad=str(tmp_path / "nowhere"))
    with OpenAhead(config) as ahead:
        ahead.open_bundle(config, "good").engine.close()
        with pytest.raises(BundleError, match="nowhere"):
            ahead.open_bundle(config, "bad")


def test_no_cpus_are_promised_where_the_runtime_places_its_threads_itself(tmp_path):
    config = config_of(tmp_path, a="demo:efficientnet-lite0")
    engine = EngineConfig(runtime="openvino", pin_threads=True)
    edited = config.model_copy(
        update={"models": {"a": config.models["a"].model_copy(update={"engine": engine})}}
    )
    opened = open_bundle(edited, "a")
    assert opened.plan.status()["cpus"] == []
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
    with pytest.raises(BundleError, match=r"models\.gone: .*/gone: this folder does not exist"):
        open_bundle(config, "gone")
    with pytest.raises(BundleError, match=r"models\.empty: .*/empty: versions there: none"):
        open_bundle(config, "empty")


def test_what_does_not_count_is_noted_beside_the_engine(tmp_path):
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
    with pytest.raises(EngineError, match=r"^line 5: models\.bad: no device of GPU") as caught:
        open_bundle(config, "bad")
    assert (caught.value.where, caught.value.line) == ("models.bad", 5)
    assert caught.value.reason_text.startswith("no device of GPU")


def test_a_configuration_does_not_differ_by_its_lines(tmp_path):
    text = TWO_MODELS.format(folder=tmp_path)
    assert parse_config(text, "box.yaml", {}) == parse_config(f"# a comment\n{text}", "box.yaml", {})
