"""A bundle says which boxes it is for; manifests without that stay as they were, their digest included."""

import pytest
from pydantic import ValidationError

from edge_runtime.bundles.build.build import to_yaml
from edge_runtime.bundles.manifest import Manifest, Requirements
from edge_runtime.bundles.requirements import check_requirements, find_device_class
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import Config, strict_yaml
from edge_runtime.deployment.open_bundle import open_bundle
from edge_runtime.errors import BundleError
from tests.support.bundle_builds import build
from tests.support.bundle_models import small_model
from tests.support.paths import DEMO, ROOT

DEMO_SHA256 = "773f1973f0e564b90e00735b4bf025774e37ea78795fedc2260c8597361feffc"
SHA256_OF_0_1 = "16bd776bde7e3667c0ce906429c29d211a833893dd90f384d7db10091d488094"


@pytest.fixture(scope="module")
def manifest():
    return load_bundle(DEMO / "bundle" / "efficientnet-lite0" / "1").manifest


def requiring(manifest, **requires):
    return Manifest.model_validate({**manifest.model_dump(), "requires": requires})


def test_the_digest_of_manifests_without_requirements_is_as_before(manifest):
    assert manifest.sha256 == DEMO_SHA256
    assert load_bundle(ROOT / "tests/data/16cd0a8/bundles/photos/1").manifest.sha256 == SHA256_OF_0_1


def test_requirements_are_part_of_the_digest(manifest):
    digests = {requiring(manifest, runtime=least).sha256 for least in (">=0.1", ">=0.2")}
    assert len(digests | {manifest.sha256}) == 3


def test_an_envelope_is_part_of_the_digest_and_is_read_again(manifest):
    hints = {**manifest.calibration.model_dump(), "envelope": {"first_taps": 3, "autonomy": "propose"}}
    written = Manifest.model_validate({**manifest.model_dump(), "calibration": hints})
    assert written.sha256 != manifest.sha256
    assert Manifest.model_validate(strict_yaml.load(to_yaml(written), "bundle.yaml").data) == written
    assert written.calibration.most_taps == 3
    assert "envelope" not in to_yaml(manifest)


def test_they_are_written_and_read_again(manifest):
    written = requiring(manifest, runtime=">=0.1", devices=["x86-64", "arm64"])
    assert Manifest.model_validate(strict_yaml.load(to_yaml(written), "bundle.yaml").data) == written
    assert "requires" not in to_yaml(manifest)


@pytest.mark.parametrize(
    ("runtime", "least", "is_enough"),
    [
        ("0.2", ">=0.2", True),
        ("0.2.0", ">=0.2", True),
        ("0.2", ">=0.2.0", True),
        ("0.10.0", ">=0.9", True),
        ("1.0", ">=0.9.9", True),
        ("0.1.9", ">=0.2", False),
        ("0.2.0", ">=0.2.0.1", False),
        ("0.3.0rc1", ">=0.3", True),
        ("0+unknown", ">=9", True),
    ],
)
def test_a_later_runtime_is_asked_for(manifest, runtime, least, is_enough):
    wanted = requiring(manifest, runtime=least)
    if is_enough:
        check_requirements(wanted, "b", runtime=runtime)
    else:
        with pytest.raises(BundleError) as caught:
            check_requirements(wanted, "b", runtime=runtime)
        assert runtime in caught.value.found
        assert least in caught.value.expected


@pytest.mark.parametrize(
    ("devices", "own", "fits"),
    [((), "riscv64", True), (("x86-64",), "x86-64", True), (("x86-64",), "arm64", False), (("npu9",), "arm64", False)],
)  # fmt: skip
def test_other_devices_are_refused(manifest, devices, own, fits):
    wanted = requiring(manifest, devices=devices)
    if fits:
        check_requirements(wanted, "b", device=own)
    else:
        with pytest.raises(BundleError):
            check_requirements(wanted, "b", device=own)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "x86-64"),
        ("AMD64", "x86-64"),
        ("aarch64", "arm64"),
        ("arm64", "arm64"),
        ("riscv64", "riscv64"),
    ],
)
def test_kernels_call_the_same_class_by_several_names(machine, expected):
    assert find_device_class(machine) == expected


@pytest.mark.parametrize(
    "wrong",
    [{"runtime": "0.2"}, {"runtime": ">=0.2,<1"}, {"runtime": ">=x"}, {"devices": ["X 1"]}, {"cpu": "x"}],
)
def test_what_cannot_be_compared_is_no_requirement(wrong):
    with pytest.raises(ValidationError):
        Requirements.model_validate(wrong)


def test_a_builder_writes_them_and_a_box_that_they_leave_out_does_not_open_it(tmp_path):
    path = build(tmp_path / "bundles", small_model(), requires=Requirements(devices=("npu9",)))
    assert load_bundle(path).manifest.requires == Requirements(devices=("npu9",))
    content = {
        "device": "box",
        "state_dir": tmp_path / "state",
        "models": {"m": {"bundle": str(path.parent)}},
        "cameras": {"c": {"path": "demo:conveyor", "model": "m"}},
    }
    with pytest.raises(BundleError) as caught:
        open_bundle(Config.model_validate(content), "m", may_write=False)
    assert "npu9" in caught.value.expected
