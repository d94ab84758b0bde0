"""What a process leaves that is killed before its N-th change of the file system, for every N until its end.

A step is one call that changes the disk or brings something to it: an open for writing, mkdir, rename, chmod, chown,
utime, fsync, remove, rmdir. Python's audit events tell them, so that the code under test needs no hooks of its own.
"""

import os
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

_CHANGES = frozenset(
    {
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.chmod",
        "os.chown",
        "os.utime",
        "os.link",
        "os.symlink",
    }
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
ENDED, FAILED = 0, 1


def list_steps(act: Callable[[], object]) -> list[str]:
    """Run it in this process; its steps in order, such as ``os.rename a b``."""
    steps, real = list[str](), os.fsync
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and _is_step(event, arguments):
            steps.append(" ".join([event, *map(str, arguments[:2])]))

    def fsync(handle: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink()}")
        real(handle)

    sys.addaudithook(note)  # there is no way to take it off again
    os.fsync = fsync  # type: ignore[assignment]
    try:
        act()
    finally:
        watching, os.fsync = False, real
    return steps


def kill_at_every_step(act: Callable[[], object], folder: Path) -> Iterator[int]:
    """Give N = 1, 2, ... with ``folder`` as ``act`` leaves it when killed before step N, at last as a whole one does.

    One child runs ``act`` once and copies the folder before each step: a kill takes nothing away but the memory and the
    locks of the process, and no copy has those. :func:`kill` shows that it leaves the same. ``act`` changes nothing
    outside of the folder. The caller may change what it finds.

    Raises:
        AssertionError: the child failed by itself.
    """
    with tempfile.TemporaryDirectory() as name:
        copies = Path(name)
        status = _run(act, lambda step: shutil.copytree(folder, copies / str(step), symlinks=True))
        assert os.WIFEXITED(status)
        assert os.WEXITSTATUS(status) == ENDED, "failed by itself"
        count = len(list(copies.iterdir()))
        folder.rename(copies / str(count + 1))
        for step in range(1, count + 2):
            shutil.rmtree(folder, ignore_errors=True)
            (copies / str(step)).rename(folder)
            yield step


def kill(act: Callable[[], object], before: int) -> None:
    """Run ``act`` in a child that is killed before this step.

    Raises:
        AssertionError: it came to its end or failed before.
    """
    status = _run(act, lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == before else None)
    assert os.WIFSIGNALED(status), f"it ended before step {before}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def _run(act: Callable[[], object], at_step: Callable[[int], object]) -> int:
    """Run ``act`` in a child that calls ``at_step`` with 1, 2, ... before each step; its wait status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of engines; the child uses none
        child = os.fork()
    if child == 0:
        _run_as_child(act, at_step)
    return os.waitpid(child, 0)[1]


def _run_as_child(act: Callable[[], object], at_step: Callable[[int], object]) -> None:
    count, is_looking = 0, False

    def step() -> None:
        nonlocal count, is_looking
        if not is_looking:  # at_step makes files too
            count, is_looking = count + 1, True
            at_step(count)
            is_looking = False

    # The system has what a killed process wrote: forcing it onto the disk as well would only take time.
    os.fsync = lambda _: step()  # type: ignore[assignment]
    sys.addaudithook(lambda event, arguments: step() if _is_step(event, arguments) else None)
    code = FAILED
    try:
        act()
        code = ENDED
    finally:  # whatever it raises ends here: the test that is going on belongs to the parent
        if code == FAILED:
            traceback.print_exc()
        os._exit(code)


def _is_step(event: str, arguments: tuple[object, ...]) -> bool:
    if event != "open":
        return event in _CHANGES
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & _WRITING)
