import pytest

from edge_runtime.errors import StateError
from edge_runtime.system.state_lock import is_in_use, lock_state_dir


def test_a_second_daemon_is_refused_until_the_first_has_gone(tmp_path):
    first = lock_state_dir(tmp_path / "state")
    with pytest.raises(StateError):
        lock_state_dir(tmp_path / "state")
    first.close()
    lock_state_dir(tmp_path / "state").close()


def test_a_state_directory_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="state_dir"):
        lock_state_dir(tmp_path / "file" / "state")


def test_whether_a_daemon_runs_is_seen_without_a_trace(tmp_path):
    assert not is_in_use(tmp_path / "state")
    assert not (tmp_path / "state").exists()
    held = lock_state_dir(tmp_path / "state")
    assert is_in_use(tmp_path / "state")
    held.close()
    assert not is_in_use(tmp_path / "state")
    lock_state_dir(tmp_path / "state").close()
