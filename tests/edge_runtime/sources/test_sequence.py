import shutil

from edge_runtime.sources.sequence import RETRY_EVERY, SequenceNumbers


def use(sequence, count):
    for seq in range(sequence.next, sequence.next + count):
        sequence.mark_used(seq)


def break_disk(path):
    """A folder in the file's place refuses every reservation, also for root."""
    path.unlink(missing_ok=True)
    (path / "in the way").mkdir(parents=True)


def test_numbers_go_on_behind_everything_reserved_before_a_crash(tmp_path):
    path = tmp_path / "belt.seq"
    use(SequenceNumbers(path, block=10), 23)
    assert SequenceNumbers(path, block=10).next > 22


def test_a_full_disk_does_not_stop_the_stream(tmp_path):
    path = tmp_path / "belt.seq"
    sequence = SequenceNumbers(path, block=10)
    break_disk(path)
    use(sequence, 4 * RETRY_EVERY)
    shutil.rmtree(path)
    use(sequence, RETRY_EVERY)
    assert SequenceNumbers(path, block=10).next > 5 * RETRY_EVERY - 1  # reserved again by itself


def test_starts_on_a_full_disk(tmp_path):
    path = tmp_path / "belt.seq"
    break_disk(path)
    sequence = SequenceNumbers(path, block=10)
    assert sequence.next == 0
    use(sequence, 3)
    assert sequence.next == 3


def test_a_worker_that_hung_takes_back_nothing_its_successor_reserved(tmp_path):
    path = tmp_path / "belt.seq"
    hung, successor = SequenceNumbers(path, block=10), SequenceNumbers(path, block=10)
    use(successor, 200)
    use(hung, 8)
    assert SequenceNumbers(path, block=10).next > 209


def test_a_damaged_sequence_file_starts_again_from_zero(tmp_path):
    (tmp_path / "belt.seq").write_text("garbage")
    assert SequenceNumbers(tmp_path / "belt.seq").next == 0
