import os
import tarfile

import pytest

from edge_runtime.bundles.travel.archive import pack_bundle
from edge_runtime.bundles.travel.files import list_files
from edge_runtime.errors import BundleError, StateError
from tests.support.signed_bundles import Publisher, build_small, copy_bundle


@pytest.fixture
def bundle(tmp_path):
    return Publisher(tmp_path / "keys").sign(build_small(tmp_path / "built"))


def test_the_same_bundle_gives_the_same_bytes(bundle, tmp_path):
    other = copy_bundle(bundle, tmp_path / "elsewhere")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    size = pack_bundle(list_files(bundle), tmp_path / "a.tar")
    pack_bundle(list_files(other), tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (tmp_path / "a.tar").stat().st_size == size


def test_an_archive_holds_every_file_below_name_and_version(bundle, tmp_path):
    pack_bundle(list_files(bundle), tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = archive.getmembers()
        contents = {one.name: archive.extractfile(one).read() for one in members}
    assert contents == {
        f"small/1/{path.relative_to(bundle)}": path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file()
    }
    assert [one.name for one in members] == sorted(contents)
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime, one.mode) for one in members} == {
        (0, 0, "", "", 0, 0o644)
    }


def test_a_damaged_bundle_is_not_packed(bundle, tmp_path):
    files = list_files(bundle)
    (bundle / "labels.txt").write_bytes(b"a\nb\nc\nd\nf\n")
    for _ in range(2):
        with pytest.raises(BundleError):
            pack_bundle(files, tmp_path / "a.tar")
        (bundle / "labels.txt").write_bytes(b"longer than before\n")
    assert not list(tmp_path.glob("*a.tar*"))


def test_a_disk_that_refuses_is_told(bundle, tmp_path):
    with pytest.raises(StateError):
        pack_bundle(list_files(bundle), tmp_path / "gone" / "a.tar")
