"""A bundle is installed whole or not at all; what is there already stays as it is."""

import os
import stat

import pytest

from edge_runtime.bundles.requirements import find_device_class
from edge_runtime.bundles.signing.ec_keys import load_public_key
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.deployment.store.in_use import InUse
from edge_runtime.deployment.store.install import Outcome, Rules, install
from edge_runtime.deployment.store.installed import list_installed
from edge_runtime.deployment.store.keep import Keep
from edge_runtime.errors import BundleError, StateError
from tests.support.bundle_store import look, make_bundle, pack
from tests.support.signed_bundles import Publisher


@pytest.fixture
def root(tmp_path):
    return tmp_path / "state" / "bundles"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def put(tmp_path, root, version, rules=None, **facts):
    source = make_bundle(tmp_path / f"source-{version}-{len(names(tmp_path))}", version=version, **facts)
    return install(source, root, rules)


@pytest.mark.parametrize("below", ["", "4", "photos/4"])
@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz"])
def test_a_bundle_is_installed_from_a_folder_or_an_archive(tmp_path, root, kind, below):
    bundle = make_bundle(tmp_path / "in" / below, version=4)
    source = tmp_path / "in" if kind == "folder" else pack(bundle, tmp_path / f"b.{kind}", below)
    done = install(source, root)
    assert (done.outcome, done.id, done.path) == (Outcome.INSTALLED, "photos/4", root / "photos" / "4")
    assert (
        load_bundle(done.path).manifest.sha256 == load_bundle(bundle).manifest.sha256 == done.manifest_sha256
    )
    assert names(root) == [".lock", "photos"]


def test_files_are_readable_for_all_and_writable_for_their_owner_whatever_the_umask(tmp_path, root):
    source = make_bundle(tmp_path / "in")
    for path in (source, *source.rglob("*")):
        path.chmod(0o777)
    before = os.umask(0o077)
    try:
        done = install(source, root)
    finally:
        os.umask(before)
    for path in (root.parent, root, done.path.parent, done.path, *done.path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_root_gives_what_it_installs_to_the_owner_of_the_state_directory(tmp_path, root):
    if os.geteuid() != 0:
        root.parent.mkdir()
    else:
        root.parent.mkdir()
        os.chown(root.parent, 65534, 65534)
    done = install(make_bundle(tmp_path / "in"), root)
    for path in (root, root / ".lock", done.path.parent, done.path, *done.path.rglob("*")):
        assert path.stat().st_uid == root.parent.stat().st_uid


def test_the_same_again_is_no_error_and_changes_nothing(tmp_path, root):
    put(tmp_path, root, 1)
    before = look(root)
    assert put(tmp_path, root, 1).outcome is Outcome.ALREADY_THERE
    assert look(root) == before


def test_other_content_under_the_same_version_is_refused(tmp_path, root):
    put(tmp_path, root, 1)
    before = look(root)
    with pytest.raises(BundleError) as caught:
        put(tmp_path, root, 1, note="other")
    assert "photos/1" in str(caught.value)
    assert look(root) == before


def test_a_damaged_version_is_replaced_by_the_same_one_and_by_no_other(tmp_path, root):
    path = put(tmp_path, root, 1).path
    before = look(root)
    (path / "labels.txt").unlink()
    with pytest.raises(BundleError):
        put(tmp_path, root, 1, note="other")
    assert put(tmp_path, root, 1).outcome is Outcome.REPAIRED
    assert look(root) == before


def test_a_lower_version_needs_to_be_allowed(tmp_path, root):
    put(tmp_path, root, 5)
    with pytest.raises(BundleError) as caught:
        put(tmp_path, root, 4)
    assert "5" in caught.value.found
    assert "bundles.allow_downgrade" in caught.value.fix  # also what a command over MQTT can have
    assert "'edge-runtime bundle install --allow-downgrade'" in caught.value.fix
    assert put(tmp_path, root, 4, Rules(allow_downgrade=True)).id == "photos/4"
    assert put(tmp_path, root, 4).outcome is Outcome.ALREADY_THERE
    assert put(tmp_path, root, 1, name="others").id == "others/1"


@pytest.mark.parametrize("requires", [{"runtime": ">=999"}, {"devices": ["npu9"]}])
def test_a_bundle_for_other_boxes_is_refused(tmp_path, root, requires):
    with pytest.raises(BundleError):
        put(tmp_path, root, 1, requires=requires)
    assert look(root) == {}
    fits = {"runtime": ">=0.0.1", "devices": ["npu9", find_device_class()]}
    assert put(tmp_path, root, 1, requires=fits).id == "photos/1"


def test_versions_that_the_policy_does_not_keep_go_and_those_in_use_stay(tmp_path, root):
    first = put(tmp_path, root, 1).path
    put(tmp_path, root, 2)
    rules = Rules(Keep(latest=2), in_use=InUse({os.path.realpath(first): ("active of m",)}))
    done = put(tmp_path, root, 3, rules)
    assert done.removed == ()
    done = put(tmp_path, root, 4, rules)
    assert done.removed == ("photos/2",)
    assert names(root / "photos") == ["1", "3", "4"]


def test_what_does_not_fit_into_the_budget_is_refused_and_nothing_goes_for_it(tmp_path, root):
    size = put(tmp_path, root, 1).size_bytes
    put(tmp_path, root, 2)
    before = look(root)
    with pytest.raises(StateError):
        put(tmp_path, root, 3, Rules(Keep(max_bytes=size // 2)))
    assert look(root) == before
    assert put(tmp_path, root, 3, Rules(Keep(max_bytes=size * 3 // 2))).removed == ("photos/1", "photos/2")


@pytest.mark.parametrize("place", ["link", "file", "bundle"])
def test_only_a_folder_of_versions_takes_another_one(tmp_path, root, place):
    root.mkdir(parents=True)
    if place == "link":
        (tmp_path / "elsewhere").mkdir()
        (root / "photos").symlink_to(tmp_path / "elsewhere")
    elif place == "file":
        (root / "photos").touch()
    else:
        make_bundle(root / "photos")
    before = look(root)
    with pytest.raises(BundleError) as caught:
        put(tmp_path, root, 2)
    assert caught.value.path == str(root / "photos")
    assert look(root) == before


def test_a_source_that_holds_several_bundles_or_none_is_refused(tmp_path, root):
    for version in (1, 2):
        make_bundle(tmp_path / "in" / "photos" / str(version), version=version)
    (tmp_path / "none").mkdir()
    for source in (tmp_path / "in", tmp_path / "none", tmp_path / "gone", "/dev/null", "/dev/zero"):
        with pytest.raises(BundleError):
            install(tmp_path / source, root)
    assert look(root) == {}


def test_an_error_names_the_file_in_the_source_and_not_the_work_folder(tmp_path, root):
    source = make_bundle(tmp_path / "in")
    (source / "labels.txt").write_text("others")
    with pytest.raises(BundleError) as caught:
        install(source, root)
    assert caught.value.path == f"{source}: labels.txt"
    assert ".incoming" not in str(caught.value)


def test_leftovers_of_dead_processes_are_swept(tmp_path, root):
    put(tmp_path, root, 1)
    before = look(root)
    make_bundle(root / ".incoming-dead" / "content")
    put(tmp_path, root, 1)
    assert look(root) == before


@pytest.mark.parametrize("where", ["root", "above"])
def test_a_root_that_is_no_folder_is_a_state_error(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(StateError):
        install(
            make_bundle(tmp_path / "in"), tmp_path / "file" if where == "root" else tmp_path / "file" / "x"
        )


def test_with_trusted_keys_only_signed_bundles_come_in_and_the_signature_is_installed(tmp_path, root):
    publisher = Publisher(tmp_path / "keys")
    trust = Trust((load_public_key(publisher.public),), require_signed=True)
    put(tmp_path, root, 1)
    with pytest.raises(BundleError):
        put(tmp_path, root, 1, Rules(trust=trust))
    (listed,) = list_installed(root, InUse(), trust)
    assert listed.problem is not None
    assert listed.is_whole
    signed = publisher.sign(make_bundle(tmp_path / "signed"))
    assert install(signed, root, Rules(trust=trust)).outcome is Outcome.REPAIRED
    assert load_bundle(root / "photos" / "1", trust).signed_by == publisher.key_id
    (listed,) = list_installed(root, InUse(), trust)
    assert listed.problem is None
