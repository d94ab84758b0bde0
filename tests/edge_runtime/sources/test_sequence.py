import shutil

import pytest
import structlog

from edge_runtime.sources.sequence import LEAST_JUMP, MOST, RETRY_EVERY, SequenceNumbers


def use(sequence, count):
    for seq in range(sequence.next, sequence.next + count):
        sequence.mark_used(seq)


def both(path):
    return path, path.with_name(f"{path.name}.copy")


def break_disk(path):
    """A folder in the file's place refuses every reservation, also for root."""
    for one in both(path):
        one.unlink(missing_ok=True)
        (one / "in the way").mkdir(parents=True)


def test_numbers_go_on_behind_everything_reserved_before_a_crash(tmp_path):
    path = tmp_path / "belt.seq"
    use(SequenceNumbers(path, block=10), 23)
    assert SequenceNumbers(path, block=10).next > 22


def test_a_full_disk_does_not_stop_the_stream(tmp_path):
    path = tmp_path / "belt.seq"
    sequence = SequenceNumbers(path, block=10)
    break_disk(path)
    use(sequence, 4 * RETRY_EVERY)
    for one in both(path):
        shutil.rmtree(one)
    use(sequence, RETRY_EVERY)
    assert SequenceNumbers(path, block=10).next > 5 * RETRY_EVERY - 1  # reserved again by itself


def test_starts_on_a_full_disk(tmp_path):
    path = tmp_path / "belt.seq"
    break_disk(path)
    sequence = SequenceNumbers(path, block=10)
    first = sequence.next
    use(sequence, 3)
    assert sequence.next == first + 3


def test_a_worker_that_hung_takes_back_nothing_its_successor_reserved(tmp_path):
    path = tmp_path / "belt.seq"
    hung, successor = SequenceNumbers(path, block=10), SequenceNumbers(path, block=10)
    use(successor, 200)
    use(hung, 8)
    assert SequenceNumbers(path, block=10).next > 209


DAMAGE = [
    b"",
    b"garbage",
    b"\0" * 16,
    b"12abc",
    b"-5",
    b"1.5",
    b"\xff\xfe",
    b"9" * 30,
    b"9" * 5000,
    str(MOST + 1).encode(),
    b"0x10",
    "\u0665".encode(),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_damaged_file_repeats_no_number(tmp_path, damage):
    for hurt in both(tmp_path / "belt.seq"):
        use(SequenceNumbers(tmp_path / "belt.seq", block=10), 23)
        before = SequenceNumbers(tmp_path / "belt.seq", block=10).next
        hurt.write_bytes(damage)
        assert SequenceNumbers(tmp_path / "belt.seq", block=10).next > before


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("picked", [0, 1, 10**15, MOST // 2 - LEAST_JUMP - 1])
def test_two_damaged_files_repeat_no_number_and_it_is_said(tmp_path, damage, picked):
    for path in both(tmp_path / "belt.seq"):
        path.write_bytes(damage)
    with structlog.testing.capture_logs() as logged:
        sequence = SequenceNumbers(tmp_path / "belt.seq", block=10, pick=lambda _: picked)
    assert LEAST_JUMP <= sequence.next < MOST
    assert [line["log_level"] for line in logged] == ["error"]
    use(sequence, 30)
    assert SequenceNumbers(tmp_path / "belt.seq", block=10).next > sequence.next


def test_a_file_that_is_gone_is_replaced_by_its_copy(tmp_path):
    use(SequenceNumbers(tmp_path / "belt.seq", block=10), 23)
    (tmp_path / "belt.seq").unlink()
    assert SequenceNumbers(tmp_path / "belt.seq", block=10).next > 22


def test_a_state_directory_of_former_versions_goes_on(tmp_path):
    (tmp_path / "belt.seq").write_text("40000")
    assert SequenceNumbers(tmp_path / "belt.seq").next == 40_000


def test_a_new_stream_begins_at_zero(tmp_path):
    assert SequenceNumbers(tmp_path / "belt.seq").next == 0


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_again_and_again_repeats_no_number_whatever_the_clock(tmp_path, damage):
    used = []
    for _ in range(4):
        for path in both(tmp_path / "belt.seq"):
            path.write_bytes(damage)
        sequence = SequenceNumbers(tmp_path / "belt.seq", block=10)
        used += range(sequence.next, sequence.next + 25)
        use(sequence, 25)
    assert len(set(used)) == len(used) == 100
