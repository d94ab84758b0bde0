"""Starts the daemon's child processes: they end with it from their first moment on.

They do not get the secrets that the configuration may name. The kernel is asked to kill a child with its parent
(``PR_SET_PDEATHSIG``) before the child imports numpy or torch: that takes seconds, in which an orphan would go on for
its whole life. A child that Python starts in a thread ends with that thread, so the thread that starts one must wait
for it or live as long.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from edge_runtime.system.environment import without_secrets

LAUNCHER = "edge_runtime.system.run_child"
_PACKAGE_HOME = Path(__file__).resolve().parents[2]
_NEEDED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""For numpy's linear algebra and torch; both start a thread for every CPU, each with a share of the processor."""
_PR_SET_PDEATHSIG = 1


def start_child(
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``python -m module arguments`` as a process that ends with this one; Ctrl-C does not reach it.

    Raises:
        OSError: no process, memory or descriptor left.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", LAUNCHER, str(os.getpid()), module, *arguments],
        env=dict(env),
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        # A group of its own: Ctrl-C in a terminal goes to the daemon alone, which then drains. Not a session: to
        # each of those the kernel gives an equal share (sched(7), autogroup), whatever the niceness in it.
        process_group=0,
    )


def has_ended(pid: int) -> bool:
    """Whether a child of this process has ended; it is not reaped, so its figures can still be read."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def small_environment() -> dict[str, str]:
    """What a child needs that handles bytes from outside: of the daemon's variables, paths and language only."""
    return _with_package({name: os.environ[name] for name in _NEEDED if name in os.environ})


def environment_without_secrets() -> dict[str, str]:
    """This process's environment without the secrets that the configuration may name."""
    return _with_package(without_secrets(os.environ))


def whole_environment() -> dict[str, str]:
    """This process's environment with all secrets, for a child that reads the configuration itself."""
    return _with_package(dict(os.environ))


def _with_package(env: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(_PACKAGE_HOME), *filter(None, [env.get("PYTHONPATH")])])
    return env | {"PYTHONPATH": path, "PYTHONUTF8": "1"}


def die_with(parent_pid: int) -> None:
    """Ask the kernel to kill this process with its parent, also while it is stopped; ends it if that is gone already.

    Elsewhere than on Linux nothing but the check happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the request to die with it
        os._exit(0)
