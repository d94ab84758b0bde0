"""Which chunks of a file are sent when: as many as a broker may keep, and again only when they are lost."""

import random

import click
import pytest

from edge_runtime.bundles.travel.chunks import name_chunk
from edge_runtime.cli.main import cli
from edge_runtime.cli.upload import STALLED, WINDOW_BYTES, ChunkedFile
from edge_runtime.errors import StateError
from edge_runtime.messaging.commands.request import MOST_CHUNKS

KIB = 1024


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(random.Random(1).randbytes(100 * 64 * KIB + 17))
    return path


def test_the_chunks_are_the_file(path):
    file = ChunkedFile(path, 64 * KIB)
    pieces = [file.read(at) for at in range(len(file.names))]
    assert b"".join(pieces) == path.read_bytes()
    assert file.names == [name_chunk(one) for one in pieces]
    assert file.size_bytes == path.stat().st_size


def test_only_so_many_are_on_the_way_and_each_is_sent_once(path):
    file, window = ChunkedFile(path, 64 * KIB), WINDOW_BYTES // (64 * KIB)
    missing = list(range(101))
    assert file.choose(missing, 101) == missing[:window]
    assert file.choose(missing, 101) == []
    assert file.choose(missing[10:], 91) == missing[window : window + 10]


def test_what_does_not_arrive_is_sent_again(path):
    file, missing = ChunkedFile(path, 64 * KIB), [3, 4]
    assert file.choose(missing, 2) == missing
    sent = [file.choose(missing, 2) for _ in range(STALLED)]
    assert sent == [[]] * (STALLED - 1) + [missing]


def test_positions_that_the_file_has_not_are_not_sent(path):
    assert ChunkedFile(path, 64 * KIB).choose([1000], 1) == []


def test_a_chunk_greater_than_the_window_is_sent_alone(path):
    file = ChunkedFile(path, 8 * 2**20)
    assert file.choose([0], 1) == [0]


def test_too_many_chunks_are_refused_before_anything_is_sent(path):
    with pytest.raises(click.UsageError, match="--chunk-kib"):
        ChunkedFile(path, path.stat().st_size // (MOST_CHUNKS + 1))


def test_a_file_that_is_gone_is_named(path):
    file = ChunkedFile(path, 64 * KIB)
    path.unlink()
    with pytest.raises(StateError):
        file.read(0)


def test_a_file_is_for_install_only(path):
    with pytest.raises(click.UsageError):
        cli(["send", "status", "--config", "box.yaml", "--file", str(path)], standalone_mode=False)
