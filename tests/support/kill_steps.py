"""Kills a process before its N-th change of the file system, for N from 1 on, until it gets to its end.

A step is one call that changes the disk or brings something to it: an open for writing, mkdir, rename, chmod, chown,
utime, fsync, remove, rmdir. Python's audit events tell them, so that the code under test needs no hooks of its own.
"""

import os
import signal
import sys
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


def kill_at_every_step(act: Callable[[], object]) -> Iterator[int]:
    """Run ``act`` again and again in a child that is killed before step 1, 2, ...; gives N after each death.

    The caller looks at what is left, and puts everything back as it was before it asks for the next one. Ends after
    the run that was not killed.

    Raises:
        AssertionError: the child failed by itself.
    """
    step = 1
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of engines; the child uses none
            child = os.fork()
        if child == 0:
            _run_and_die(act, step)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == ENDED, f"failed by itself before step {step}"
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        yield step
        step += 1


def _run_and_die(act: Callable[[], object], at: int) -> None:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

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
