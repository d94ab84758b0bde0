"""Whose rights count: those of the user that runs the daemon, who is seldom the one that types ``doctor``."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from edge_runtime.system.cpu_topology import text_of

_ANSWER_S = 3.0

Right = Literal["r", "w", "x"]


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user, the groups it is in, and the daemon that it runs."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    pid: int | None = None
    """Of the running daemon; None when there is none, or it cannot be seen."""
    is_running: bool = False
    """Whether a daemon uses the state directory, seen or not."""

    @classmethod
    def find(cls, name: str | None, holder: int | None) -> Self:
        """The user with this name, else the one that runs the daemon, else the caller.

        ``holder`` is what ``state_lock.find_holder`` says.

        Raises:
            KeyError: there is no such user.
        """
        pid, is_running = holder or None, holder is not None
        if name is not None:
            entry = pwd.getpwnam(name)
            groups = tuple(os.getgrouplist(name, entry.pw_gid))
            return cls(entry.pw_uid, entry.pw_gid, groups, pid, is_running)
        caller = cls(os.geteuid(), os.getegid(), tuple(os.getgroups()), None, is_running)
        return cls._of_process(pid) or caller

    @classmethod
    def _of_process(cls, pid: int | None) -> Self | None:
        """The effective user of a process, as proc(5) shows it."""
        lines = text_of(Path(f"/proc/{pid}/status")).splitlines() if pid is not None else ()
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        try:
            uid, gid = int(fields["Uid"][1]), int(fields["Gid"][1])
            return cls(uid, gid, tuple(map(int, fields["Groups"])), pid, is_running=True)
        except (KeyError, IndexError, ValueError):  # it ended, or /proc hides it
            return None

    @property
    def name(self) -> str:
        """For people; the number where the system knows no name."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def is_caller(self) -> bool:
        """Whether it is the one that runs this process."""
        return self.uid == os.geteuid()

    def may(self, path: Path, rights: Sequence[Right]) -> bool | None:
        """Whether it has all of these rights to a path, access lists included; None when the caller cannot see it."""
        if self.is_caller:
            modes = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}
            return os.access(path, sum(modes[one] for one in rights))
        try:
            if os.geteuid() != 0:
                return self._may_by_mode(path, rights)
            return all(self._try(path, one) for one in rights)
        except (OSError, subprocess.SubprocessError):
            return None

    def _may_by_mode(self, path: Path, rights: Sequence[Right]) -> bool:
        """By the bits of the path and of the folders above it: only root can try in the name of another."""
        asked = [(path, one) for one in rights] + [(folder, "x") for folder in path.absolute().parents]
        return all(self._has_bit(one.stat(), right) for one, right in asked)

    def _has_bit(self, status: os.stat_result, right: str) -> bool:
        group = status.st_gid == self.gid or status.st_gid in self.groups
        shift = 6 if status.st_uid == self.uid else 3 if group else 0
        return bool(status.st_mode >> shift & {"r": 4, "w": 2, "x": 1}[right])

    def _try(self, path: Path, right: Right) -> bool:
        """The kernel is asked in the name of the user: the bits of a file do not tell of its access list."""
        command = ["test", f"-{right}", str(path)]
        if self._has_own_mounts():
            as_user = [f"--reuid={self.uid}", f"--regid={self.gid}", *self._group_options()]
            enter = ["nsenter", f"--target={self.pid}", "--mount", "--", "setpriv", *as_user, "--", *command]
            return subprocess.run(enter, timeout=_ANSWER_S, check=False).returncode == 0
        run = subprocess.run(
            command, user=self.uid, group=self.gid, extra_groups=self.groups, timeout=_ANSWER_S, check=False
        )
        return run.returncode == 0

    def _group_options(self) -> list[str]:
        return [f"--groups={','.join(map(str, self.groups))}"] if self.groups else ["--clear-groups"]

    def _has_own_mounts(self) -> bool:
        """Whether the daemon sees other folders than the caller.

        ``DynamicUser=`` keeps the state directory behind a folder that only root may enter, and shows it to the daemon.
        """
        try:
            return self.pid is not None and _mounts_of(self.pid) != _mounts_of(os.getpid())
        except OSError:  # it has ended
            return False


def _mounts_of(pid: int) -> str:
    """The name of the mount namespace of a process, see namespaces(7)."""
    return str(Path(f"/proc/{pid}/ns/mnt").readlink())
