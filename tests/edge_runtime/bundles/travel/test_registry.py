"""How long a push or a pull may take altogether, by a clock that the test sets."""

import pytest

from edge_runtime.bundles.travel.files import list_files
from edge_runtime.bundles.travel.pull import Order, pull_into
from edge_runtime.bundles.travel.push import push_bundle
from edge_runtime.bundles.travel.reference import parse_reference
from edge_runtime.bundles.travel.referrers import attach_file
from edge_runtime.bundles.travel.registry import (
    ANSWER_BYTES,
    GRACE_S,
    LEAST_BYTES_PER_S,
    LONGEST_S,
    Patience,
)
from edge_runtime.errors import RegistryLost
from tests.support.fake_registry import FakeRegistry
from tests.support.signed_bundles import build_small

REFERENCE = parse_reference("oci://host/small:1")
ANSWER_S = ANSWER_BYTES / LEAST_BYTES_PER_S
SLOW_S = 25.0
"""Of one answer; on its own it is none that is too slow."""


class SlowRegistry(FakeRegistry):
    """Every answer takes ``answer_s``; ``now_s`` is its clock."""

    def __init__(self):
        super().__init__(chunk=10**6)
        self.answer_s, self.now_s, self.answers = 0.0, 0.0, 0

    def patience(self, limit_s=2.0):
        return Patience(limit_s, lambda: self.now_s, self.sleep)

    def sleep(self, seconds):
        self.now_s += seconds

    def _fail(self, method):
        if method != "after_chunk":
            self.now_s, self.answers = self.now_s + self.answer_s, self.answers + 1
        super()._fail(method)


@pytest.fixture
def bundle(tmp_path):
    return list_files(build_small(tmp_path))


def push(bundle, registry):
    return push_bundle(bundle, REFERENCE, registry, registry.patience())


def pull(registry, folder):
    with pull_into(Order(REFERENCE), registry, folder, registry.patience()) as pulled:
        return pulled


def test_many_small_files_end_after_a_time_by_their_sizes():
    registry = SlowRegistry()
    patience, files = registry.patience(), 1000
    patience.expect(files, files)

    def load_all():
        for _ in range(files):
            registry.now_s += SLOW_S
            patience.note_bytes(1)
            patience.note_progress()

    with pytest.raises(RegistryLost):
        load_all()
    allowed_s = 2 + GRACE_S + files / LEAST_BYTES_PER_S + files * ANSWER_S
    assert allowed_s <= registry.now_s < allowed_s + SLOW_S


def test_a_promise_of_any_size_ends_after_the_longest_time():
    registry = SlowRegistry()
    patience = registry.patience()
    patience.expect(10**12, 1)
    registry.now_s = LONGEST_S - 1
    patience.check()
    registry.now_s = LONGEST_S
    with pytest.raises(RegistryLost):
        patience.check()


def test_a_longer_wait_for_a_registry_counts_once():
    registry = SlowRegistry()
    patience = registry.patience(limit_s=3600.0)
    patience.expect(1024, 0)
    registry.now_s = 3600 + GRACE_S
    patience.check()
    registry.now_s += 1
    with pytest.raises(RegistryLost):
        patience.check()


def test_a_far_registry_gets_and_gives_every_file(bundle, tmp_path):
    registry = SlowRegistry()
    registry.answer_s = ANSWER_S
    assert push(bundle, registry).sent_bytes
    assert pull(registry, tmp_path / "partial").counts.downloaded


@pytest.mark.parametrize("verb", ["push", "pull", "attach"])
def test_a_registry_that_is_slow_with_each_answer_is_given_up(bundle, tmp_path, verb):
    registry = SlowRegistry()
    if verb != "push":
        push(bundle, registry)
    verbs = {
        "push": lambda: push(bundle, registry),
        "pull": lambda: pull(registry, tmp_path / "partial"),
        "attach": lambda: attach_file(registry, b"{}", "patch", "p.safetensors", b"1", registry.patience()),
    }
    registry.answer_s, registry.answers = 10_000.0, 0
    with pytest.raises(RegistryLost):
        verbs[verb]()
    assert registry.answers <= 4
