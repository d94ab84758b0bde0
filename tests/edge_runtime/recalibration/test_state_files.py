"""Anything may lie in the place of a state file: no reader waits for it, and none reads more than its bound."""

import os
import signal
import socket
import tracemalloc
import zlib
from contextlib import contextmanager
from datetime import UTC
from itertools import product

import orjson
import pytest

from calibration.baseline.baseline import Baseline
from calibration.errors import CalibrationError, ModelError
from calibration.stats.regular_file import read_regular, read_whole
from calibration.targets import model_files
from edge_runtime.bundles.passed_models import PassedModels
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.reports import Reports, forget_thumbnails
from edge_runtime.errors import StateError
from edge_runtime.messaging.commands.used_file import UsedFile
from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.sinks.file_sink import FileSink
from edge_runtime.recalibration.baselines.store import BaselineStore, InUse
from edge_runtime.recalibration.job.messages import RESULT
from edge_runtime.recalibration.reference.erasure import forget_samples
from edge_runtime.recalibration.reference.reservoir_store import ReservoirStore
from edge_runtime.sources.answered_files import AnsweredFiles, FileStamp
from edge_runtime.sources.sequence import LEAST_JUMP, SequenceNumbers
from edge_runtime.system.local_zone import find_local_zone
from edge_runtime.system.sandbox import Protection
from tests.support.controller_bench import IDENTITY, a_baseline

MOST_MEMORY_BYTES = 64 * 2**20
LONG_BYTES = 2**40  # sparse: it takes no space


def socket_at(path):
    folder = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{folder}/{path.name}")  # an address has at most 107 bytes
    os.close(folder)


def long_at(path):
    path.touch()
    os.truncate(path, LONG_BYTES)


KINDS = {
    "pipe": os.mkfifo,
    "socket": socket_at,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "link to itself": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to(path.with_name("absent")),
    "link to a pipe": lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")),
    "long file": long_at,
}


@contextmanager
def bounded():
    """Fails what waits for ever, and what takes more memory than its file may hold."""

    def end(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY_BYTES
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def state(tmp_path):
    state = ModelState.open(tmp_path, "parts")
    (state.patches / "p1").mkdir()
    (state.patches / "p1" / "report.json").write_bytes(
        orjson.dumps({"cause": "drift alarm", "baseline_id": "x", "model_sha256": "0" * 64})
    )
    (state.patches / "p1" / "model.onnx").write_bytes(b"model")
    (state.folder / "active.json").write_bytes(
        orjson.dumps({"bundle": "parts/1", "patch": "p1", "previous": None})
    )
    state.record_slots((1.0,))
    state.note_last_version(4)
    BaselineStore(state.baselines).put(a_baseline())
    BaselineStore(state.baselines).note_in_use(InUse("default", {"id": "p1"}))
    return state


def active(state):
    with pytest.raises(StateError):
        state.load_rollout("parts/1")


def patched(state):
    with pytest.raises(StateError):
        state.read_patched("p1")


def reported(state):
    assert state.read_cause("p1") is None
    assert Reports(state.folder).read_figures("p1") is None
    patched(state)


def page(state):
    assert Reports(state.folder).read_page("p1") is None
    forget_thumbnails(state.folder)


def slots(state):
    assert state.load_slots() == []
    if not (state.folder / "schedule.json").is_dir():
        state.record_slots((2.0,))
        assert state.load_slots() == [2.0]


def last_version(state):
    assert state.read_last_version() is None
    state.note_last_version(5)
    assert state.read_last_version() in (5, None)


def in_use(state):
    assert BaselineStore(state.baselines).read_in_use() == InUse()


def baseline(state):
    usable, misfits, damaged = BaselineStore(state.baselines).load(IDENTITY)
    assert (set(usable), set(misfits), set(damaged)) == ({"default"}, set(), {"night"})
    forget_samples(state.folder)


def observed(state):
    with pytest.raises(CalibrationError):
        Baseline.load(state.observed_path("p1"))


def probe(state):
    with pytest.raises(ModelError):
        model_files.read(state.probe_path("0" * 64))


def outcome(state):
    with pytest.raises((OSError, StateError)):
        RESULT.read(state.jobs)


READERS = {
    "active.json": active,
    "schedule.json": slots,
    "last-version": last_version,
    "patches/p1/report.json": reported,
    "patches/p1/report.html": page,
    "patches/p1/model.onnx": patched,
    "patches/p1/observed.safetensors": observed,
    "baselines/in-use.json": in_use,
    "baselines/night.safetensors": baseline,
    "probes/0000000000000000.onnx": probe,
    "jobs/outcome.json": outcome,
}


@pytest.mark.parametrize(
    ("name", "kind"), sorted(set(product(READERS, KINDS)) - {("active.json", "link to nothing")})
)
def test_a_models_file_costs_what_it_holds(state, name, kind):
    path = state.folder / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    KINDS[kind](path)
    with bounded():
        READERS[name](state)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_a_patch_that_cannot_be_read_cost_the_patch(state, kind):
    path = state.patches / "p1" / "answers.safetensors"
    KINDS[kind](path)
    with bounded():
        patched(state)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"link to nothing"}))
def test_a_patch_whose_withdrawal_cannot_be_read_does_not_come_back(state, kind):
    KINDS[kind](state.patches / "p1" / "withdrawn")
    with bounded():
        assert state.is_withdrawn("p1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_reservoir_loses_only_this_picture(tmp_path, kind):
    store = ReservoirStore(tmp_path / "reservoir", "parts/1")
    store.folder.mkdir(parents=True)
    whole = b'{"mean":[1.0],"var":[1.0]}'
    (store.folder / f"1000.1.0.{zlib.crc32(whole):08x}.belt.json").write_bytes(whole)
    KINDS[kind](store.folder / "1000.2.0.00000000.belt.json")
    with bounded():
        found, _ = store.open(10.0, 2.0, 100.0, with_pictures=False)
    assert [one.seq for one in found] == [1]


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"link to nothing"}))
def test_sequence_numbers_go_on_far_above(tmp_path, kind):
    for name in ("belt.seq", "belt.seq.copy"):
        folder = tmp_path / name
        folder.mkdir()
        KINDS[kind](folder / "file")
        (tmp_path / f"{name}").rename(tmp_path / f"in-{name}")
        (tmp_path / name).symlink_to(tmp_path / f"in-{name}" / "file")
    with bounded():
        assert SequenceNumbers(tmp_path / "belt.seq", pick=lambda _: 0).next >= LEAST_JUMP


@pytest.mark.parametrize("kind", KINDS)
def test_one_copy_of_the_sequence_numbers_is_enough(tmp_path, kind):
    (tmp_path / "belt.seq.copy").write_bytes(b"700")
    KINDS[kind](tmp_path / "belt.seq")
    with bounded():
        assert SequenceNumbers(tmp_path / "belt.seq").next == 700


@pytest.mark.parametrize("kind", KINDS)
def test_answered_files_are_answered_again(tmp_path, kind):
    KINDS[kind](tmp_path / "belt.answered")
    with bounded():
        assert len(AnsweredFiles(tmp_path / "belt.answered")) == 0


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"folder", "long file"}))
def test_answered_files_that_are_replaced_while_it_runs_are_written_again(tmp_path, kind):
    path = tmp_path / "belt.answered"
    answered = AnsweredFiles(path)
    one, other = (FileStamp(name, number, number, 0.0) for number, name in enumerate("ab", start=1))
    answered.settle(one)
    answered.save(10.0)
    path.unlink()
    KINDS[kind](path)
    answered.settle(other)
    with bounded():
        for now_s in (20.0, 30.0):
            answered.save(now_s)
    again = AnsweredFiles(path)
    assert one in again
    assert other in again


@pytest.mark.parametrize("kind", KINDS)
def test_a_zone_that_cannot_be_read_is_utc(tmp_path, kind):
    KINDS[kind](tmp_path / "zone")
    with bounded():
        assert find_local_zone({"TZ": str(tmp_path / "zone")}) is UTC


@pytest.mark.parametrize("kind", KINDS)
def test_a_note_of_a_passed_model_is_none(tmp_path, kind):
    passed = PassedModels(tmp_path)
    passed.note("a", Protection(1, has_seccomp=True))
    KINDS[kind](tmp_path / "b")
    with bounded():
        assert passed.find("b") is None
        assert passed.find("a") == Protection(1, has_seccomp=True)


@pytest.mark.parametrize("kind", KINDS)
def test_used_transactions_are_taken_anew(tmp_path, kind):
    KINDS[kind](tmp_path / "commands.used")
    with bounded():
        used = UsedFile(tmp_path / "commands.used")
        used.begin("a", b"r" * 24)
        assert used.find("a") is not None
        used.close()


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"long file", "link to nothing"}))
def test_a_results_file_that_is_none_is_a_problem_that_is_said(tmp_path, kind):
    KINDS[kind](tmp_path / "results.jsonl")
    sink = FileSink(tmp_path / "results.jsonl", max_bytes=2**20, monotonic=lambda: 0.0)
    with bounded():
        sink.send(Row(1, "edge/d/result/s", b"{}", 0.0))
        assert sink.poll().delivered == []
        assert "results.jsonl" in sink.problem


def test_a_whole_file_is_read_and_a_longer_one_is_not(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abcd")
    assert read_whole(path, 4) == b"abcd"
    assert read_regular(path, 3) == b"abc"
    with pytest.raises(OSError, match="at most 3"):
        read_whole(path, 3)
