import fcntl
import os
import stat

import pytest

from edge_runtime.errors import StateError
from edge_runtime.system.state_lock import find_holder, lock_state_dir


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


def test_whose_daemon_runs_is_seen_without_a_trace_and_without_a_lock(tmp_path, monkeypatch):
    assert find_holder(tmp_path / "state") is None
    assert not (tmp_path / "state").exists()
    held = lock_state_dir(tmp_path / "state")
    with monkeypatch.context() as patched:
        patched.delattr(fcntl, "flock")  # one that is held for a moment refuses a daemon that starts then
        assert find_holder(tmp_path / "state") in (os.getpid(), None)  # None where /proc/locks shows nothing
    held.close()
    assert find_holder(tmp_path / "state") is None
    lock_state_dir(tmp_path / "state").close()


@pytest.mark.parametrize("way", ["deleted", "replaced", "folder", "link", "emptied"])
def test_a_lock_file_that_is_gone_lets_no_second_daemon_in(tmp_path, way):
    state = tmp_path / "state"
    held, lock = lock_state_dir(state), state / "lock"
    match way:
        case "emptied":
            lock.write_bytes(b"")
        case "deleted":
            lock.unlink()
        case "folder":
            lock.unlink()
            lock.mkdir()
        case "link":
            lock.unlink()
            lock.symlink_to(tmp_path / "elsewhere")
        case _:
            lock.unlink()
            lock.touch()
    for _ in range(2):
        with pytest.raises(StateError):
            lock_state_dir(state)
    held.close()
    assert find_holder(state) is None


def test_a_daemon_of_an_earlier_version_that_holds_the_file_alone_is_seen(tmp_path):
    state = tmp_path / "state"
    lock_state_dir(state).close()
    with (state / "lock").open("ab") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        with pytest.raises(StateError, match="another daemon"):
            lock_state_dir(state)
    lock_state_dir(state).close()


def test_a_file_system_that_locks_no_directory_has_the_file(tmp_path, monkeypatch):
    real = fcntl.flock

    def flock(handle, operation):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(9, "Bad file descriptor")
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    held = lock_state_dir(tmp_path / "state")
    with pytest.raises(StateError, match="another daemon"):
        lock_state_dir(tmp_path / "state")
    held.close()
    lock_state_dir(tmp_path / "state").close()


def test_the_daemon_is_found_where_stat_and_the_kernel_name_the_device_differently(tmp_path):
    """As on btrfs; a doctor that takes it for stopped opens its cameras a second time."""
    state, locks = tmp_path / "state", tmp_path / "locks"
    state.mkdir()
    (state / "lock").touch()
    folder, file = (path.stat().st_ino for path in (state, state / "lock"))

    def list_locks(*held):
        text = [
            f"{n}: FLOCK  ADVISORY  WRITE {pid} 00:ffffe:{inode} 0 EOF" for n, (pid, inode) in enumerate(held)
        ]
        locks.write_text("\n".join(text), encoding="ascii")

    list_locks((7, folder), (9, 1), (9, file), (9, folder))
    assert find_holder(state, locks) == 9
    list_locks((7, folder), (9, file))
    assert find_holder(state, locks) is None
