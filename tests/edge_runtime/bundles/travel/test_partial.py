"""Blobs are completed, never loaded twice, and bounded; all against a registry in memory."""

import os

import pytest

from edge_runtime.bundles.travel.model_pack import Layer
from edge_runtime.bundles.travel.partial import KEPT_DAYS, Counts, open_partial
from edge_runtime.bundles.travel.registry import LONGEST_S, Patience
from edge_runtime.errors import BundleError, RegistryLost, RegistryRefused, StateError
from tests.support.fake_registry import FakeRegistry

DATA = bytes(range(256)) * 4


class Clock:
    """Time that passes while one sleeps."""

    def __init__(self):
        self.now_s, self.slept = 0.0, []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += seconds

    def patience(self, limit_s=60.0):
        return Patience(limit_s, lambda: self.now_s, self.sleep)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "partial"


def fetch(folder, registry, layer, patience=None):
    counts, seen = Counts(), []
    with open_partial(folder) as partial:
        partial.fetch(layer, registry, patience or Clock().patience(), counts, seen.append)
        data = partial.path_of(layer).read_bytes()
    assert sum(seen) == layer.size
    return data, counts


def layer_of(registry, data=DATA, size=None):
    return Layer("model.onnx", registry.add(data), len(data) if size is None else size)


@pytest.mark.parametrize("cuts", [[], [0], [500], [500, 10, 10], [1020]])
def test_a_blob_goes_on_where_it_was_cut(folder, cuts):
    registry = FakeRegistry()
    layer = layer_of(registry)
    registry.cut_after = list(cuts)
    data, counts = fetch(folder, registry, layer)
    assert data == DATA
    assert counts.downloaded == len(DATA) == registry.served


def test_the_next_pull_goes_on_too(folder):
    registry = FakeRegistry()
    layer = layer_of(registry)
    registry.cut_after = [500]
    with pytest.raises(RegistryLost):
        fetch(folder, registry, layer, Clock().patience(0))
    data, counts = fetch(folder, registry, layer)
    assert data == DATA
    assert (counts.kept, counts.downloaded) == (500, len(DATA) - 500)
    assert fetch(folder, registry, layer)[1] == Counts(downloaded=0, kept=len(DATA))
    assert registry.asked == [0, 500]


def test_a_registry_without_ranges_is_read_from_the_start(folder):
    registry = FakeRegistry(has_ranges=False)
    layer = layer_of(registry)
    registry.cut_after = [500]
    assert fetch(folder, registry, layer)[0] == DATA


def test_bytes_that_a_power_cut_spoilt_are_loaded_again(folder):
    registry = FakeRegistry()
    layer = layer_of(registry)
    folder.mkdir()
    (folder / f"{layer.sha256}.part").write_bytes(DATA[:300] + bytes(200))
    data, counts = fetch(folder, registry, layer)
    assert data == DATA
    assert counts.kept == 0


@pytest.mark.parametrize("name", ["{}", "{}.part"])
def test_a_kept_blob_is_not_trusted_for_its_name(folder, name):
    registry = FakeRegistry()
    layer = layer_of(registry)
    folder.mkdir()
    (folder / name.format(layer.sha256)).write_bytes(bytes(len(DATA)))
    assert fetch(folder, registry, layer)[0] == DATA


def test_a_longer_part_is_dropped(folder):
    registry = FakeRegistry()
    layer = layer_of(registry)
    folder.mkdir()
    (folder / f"{layer.sha256}.part").write_bytes(bytes(len(DATA) + 1))
    assert fetch(folder, registry, layer)[0] == DATA


def test_another_content_is_refused_and_leaves_nothing(folder):
    registry = FakeRegistry()
    layer = layer_of(registry)
    registry.blobs[layer.digest] = DATA[::-1]
    with pytest.raises(BundleError):
        fetch(folder, registry, layer)
    assert not folder.exists()


def test_more_bytes_than_promised_are_not_written(folder):
    registry = FakeRegistry()
    layer = layer_of(registry)
    registry.blobs[layer.digest] = DATA * 100
    with pytest.raises(BundleError, match="more bytes"):
        fetch(folder, registry, layer)
    assert registry.served <= len(DATA) + registry.chunk
    assert sum(path.stat().st_size for path in folder.rglob("*")) == 0


def test_fewer_bytes_than_promised_end_after_the_patience(folder):
    registry, clock = FakeRegistry(), Clock()
    layer = layer_of(registry, size=len(DATA) + 1)
    with pytest.raises(RegistryLost):
        fetch(folder, registry, layer, clock.patience(30))
    assert clock.now_s == pytest.approx(30)


def test_a_registry_that_gives_a_byte_a_try_is_given_up(folder):
    registry, clock = FakeRegistry(chunk=1), Clock()
    registry.cut_after = [1] * 10_000
    with pytest.raises(RegistryLost):
        fetch(folder, registry, layer_of(registry), clock.patience(30))
    assert clock.now_s == pytest.approx(30)
    assert len(registry.asked) < 100


def test_a_pull_ends_after_its_longest_time_however_fast_bytes_come(folder):
    registry, clock = FakeRegistry(chunk=1), Clock()
    serve = registry._serve

    def serve_slowly(data):
        for chunk in serve(data):
            clock.now_s += LONGEST_S / 100
            yield chunk

    registry._serve = serve_slowly
    layer = layer_of(registry)
    with pytest.raises(RegistryLost):
        fetch(folder, registry, layer, clock.patience(10**6))
    assert registry.served == 100
    assert (folder / f"{layer.sha256}.part").stat().st_size == 100


def test_a_refusal_before_the_first_byte_leaves_nothing(folder):
    registry = FakeRegistry()
    layer = layer_of(registry)
    registry.blobs.clear()
    with pytest.raises(RegistryRefused):
        fetch(folder, registry, layer)
    assert not folder.exists()


def test_one_waits_longer_each_time_and_anew_after_progress():
    clock = Clock()
    patience = clock.patience(20)
    lost = RegistryLost("r", "away")
    for _ in range(4):
        patience.wait(lost)
    assert clock.slept == [0.25, 0.5, 1, 2]
    patience.note_progress()
    patience.wait(lost)
    assert clock.slept[-1] == 0.25
    with pytest.raises(RegistryLost):
        patience.repeat(lambda: FakeRegistry().always_away())
    assert clock.now_s == pytest.approx(3.75 + 20)


def test_a_blob_that_is_not_there_is_refused(folder):
    with pytest.raises(RegistryRefused):
        fetch(folder, FakeRegistry(), Layer("x", "sha256:" + "0" * 64, 1))


def test_an_empty_file_is_a_blob(folder):
    registry = FakeRegistry()
    assert fetch(folder, registry, layer_of(registry, b""))[0] == b""


def test_one_pull_at_a_time(folder):
    with open_partial(folder), pytest.raises(StateError), open_partial(folder):
        pass
    assert not folder.exists()


def test_what_was_given_up_is_removed_later(folder):
    folder.mkdir()
    old, new = folder / ("a" * 64), folder / ("b" * 64 + ".part")
    for path in (old, new):
        path.write_bytes(b"x")
    past = old.stat().st_mtime - (KEPT_DAYS + 1) * 86_400
    os.utime(old, (past, past))
    with open_partial(folder):
        pass
    assert not old.exists()
    assert new.exists()


def test_a_registry_that_always_begins_anew_is_given_up(folder):
    """Without ranges and with a connection that never lasts: nothing new arrives, however much is sent."""
    registry = FakeRegistry(has_ranges=False)
    layer = layer_of(registry)
    registry.cut_after = [500] * 1000
    with pytest.raises(RegistryLost):
        fetch(folder, registry, layer)
    assert len(registry.asked) < 100


def test_the_file_of_an_installed_bundle_is_never_written_to(folder, tmp_path):
    """A pull that was killed after the rename has left a second name of it among the blobs."""
    registry = FakeRegistry()
    layer = layer_of(registry, size=len(DATA) + 10)  # as a registry may claim
    installed = tmp_path / "model.onnx"
    installed.write_bytes(DATA)
    folder.mkdir()
    (folder / layer.sha256).hardlink_to(installed)
    registry.blobs[layer.digest] = DATA + bytes(10)
    with pytest.raises(BundleError):
        fetch(folder, registry, layer)
    assert installed.read_bytes() == DATA
