"""The folder of a bundle's version is found, or the error says what is there."""

import pytest

from edge_runtime.deployment.versions import find_bundle
from edge_runtime.errors import BundleError

TOO_LONG = "/srv/" + "x" * 300  # the file system answers with an error instead of "no"


def versions(tmp_path, *names):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.yaml").touch()
    return tmp_path


def test_finds_the_latest_version_by_number_and_skips_what_is_none(tmp_path):
    root = versions(tmp_path, "2", "10", "tmp", "²", "0", "1.old")
    assert find_bundle(root, "latest") == root / "10"
    assert find_bundle(root, 2) == root / "2"


def test_a_folder_with_a_manifest_is_the_bundle_itself(tmp_path):
    (tmp_path / "bundle.yaml").touch()
    assert find_bundle(tmp_path, "latest") == tmp_path


def test_a_missing_version_names_those_that_are_there(tmp_path):
    with pytest.raises(BundleError, match="2, 10"):
        find_bundle(versions(tmp_path, "2", "10"), 3)


@pytest.mark.parametrize("root", ["/nowhere/parts", TOO_LONG])
def test_a_bundle_folder_that_cannot_be_read_is_a_bundle_error(tmp_path, root):
    with pytest.raises(BundleError):
        find_bundle(tmp_path / root, "latest")
