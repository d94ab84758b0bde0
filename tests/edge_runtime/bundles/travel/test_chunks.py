"""Chunks of an archive: by their hashes, in any order, over kills, and never more than was named."""

import random
import shutil

import pytest

from edge_runtime.bundles.travel.chunks import MAX_CHUNK_BYTES, UPLOAD_FOLDER, ChunkFolder, name_chunk
from edge_runtime.errors import BundleError, StateError

DATA = random.Random(1).randbytes(10_500)
SIZE = len(DATA)
PIECES = [DATA[at : at + 1000] for at in range(0, len(DATA), 1000)]
NAMES = [name_chunk(one) for one in PIECES]


def open_folder(store, names=NAMES, size=SIZE):
    return ChunkFolder(store, names, size)


def add_all(folder):
    for one in PIECES:
        folder.add(one)


def test_chunks_come_in_any_order_and_again(tmp_path):
    folder = open_folder(tmp_path)
    assert folder.missing() == list(range(11))
    shuffled = random.Random(2).sample(PIECES, 11)
    assert [folder.add(one) for one in shuffled] == [True] * 11
    assert not folder.add(PIECES[3])
    assert folder.join().read_bytes() == DATA
    folder.clear()
    assert list(tmp_path.iterdir()) == []


def test_what_arrived_before_a_kill_is_here_and_only_the_rest_is_missing(tmp_path):
    before = open_folder(tmp_path)
    for one in PIECES[:4]:
        before.add(one)
    (tmp_path / UPLOAD_FOLDER / NAMES[0]).write_bytes(b"half")  # a power cut
    after = open_folder(tmp_path)
    assert after.missing() == [0, 4, 5, 6, 7, 8, 9, 10]
    assert after.kept_bytes == 3000


def test_equal_chunks_are_asked_for_once(tmp_path):
    zero, last = bytes(1000), b"end"
    names = [name_chunk(zero)] * 3 + [name_chunk(last)]
    folder = open_folder(tmp_path, names, 3003)
    assert folder.missing() == [0, 3]
    assert folder.add(zero)
    assert folder.present_bytes == 3000
    assert folder.add(last)
    assert folder.join().read_bytes() == 3 * zero + last


def test_bytes_that_nobody_named_are_not_kept(tmp_path):
    folder = open_folder(tmp_path)
    assert not folder.add(b"something else")
    assert list((tmp_path / UPLOAD_FOLDER).iterdir()) == []


def test_what_an_earlier_archive_left_is_removed(tmp_path):
    other = open_folder(tmp_path, [name_chunk(b"x"), name_chunk(b"y")], 2)
    other.add(b"x")
    (tmp_path / UPLOAD_FOLDER / "folder").mkdir()
    (tmp_path / UPLOAD_FOLDER / "link").symlink_to(tmp_path)
    open_folder(tmp_path)
    assert list((tmp_path / UPLOAD_FOLDER).iterdir()) == []
    assert tmp_path.exists()


def test_what_lies_behind_a_link_in_its_place_is_left_alone(tmp_path):
    other, store = tmp_path / "other", tmp_path / "store"
    other.mkdir()
    store.mkdir()
    (other / "mine").write_text("x")
    (store / UPLOAD_FOLDER).symlink_to(other)
    folder = open_folder(store)
    add_all(folder)
    assert folder.join().read_bytes() == DATA
    folder.clear()
    assert [path.name for path in other.iterdir()] == ["mine"]
    assert not (store / UPLOAD_FOLDER).exists()


@pytest.mark.parametrize("size", [len(DATA) - 1, 500])
def test_chunks_longer_than_the_archive_are_refused_as_they_come(tmp_path, size):
    folder = open_folder(tmp_path, size=size)
    with pytest.raises(BundleError):
        add_all(folder)


def test_an_archive_of_another_length_is_refused(tmp_path):
    folder = open_folder(tmp_path, size=len(DATA) + 1)
    add_all(folder)
    with pytest.raises(BundleError):
        folder.join()


def test_a_chunk_that_changed_on_the_disk_is_refused(tmp_path):
    folder = open_folder(tmp_path)
    add_all(folder)
    (tmp_path / UPLOAD_FOLDER / NAMES[5]).write_bytes(b"x" * 1000)
    with pytest.raises(BundleError):
        folder.join()
    folder.drop_archive()
    assert open_folder(tmp_path).missing() == [5]


def test_a_disk_that_refuses_is_named(tmp_path):
    folder = open_folder(tmp_path)
    shutil.rmtree(tmp_path / UPLOAD_FOLDER)
    (tmp_path / UPLOAD_FOLDER).write_text("a file")
    with pytest.raises(StateError):
        folder.add(PIECES[0])


def test_a_chunk_that_is_too_long_is_not_kept(tmp_path):
    data = bytes(MAX_CHUNK_BYTES + 1)
    folder = open_folder(tmp_path, [name_chunk(data)], len(data))
    assert not folder.add(data)
