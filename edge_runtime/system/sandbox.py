"""Takes rights away from this process, for good: memory, time, files, network, other processes.

Three layers of the kernel, each taken where it is there:

- resource limits (every Unix): heap, processor time, size of files, descriptors, no core dump;
- seccomp (Linux on x86-64 and arm64): no sockets, no file opened for writing, removed or renamed, no new process, and
  nothing that changes another process or the box. What it does not know is allowed, but system calls that are newer
  than its list are absent;
- Landlock (Linux 5.13 and later): only the files of Python and the system's libraries can be read, no process outside
  can be looked into.

Call :func:`enter` while the process has a single thread: the layers hold for that one and for all that it starts.
Sources: landlock(7), seccomp(2), the kernel's ``Documentation/userspace-api/landlock.rst``.
"""

import contextlib
import ctypes
import os
import platform
import resource
import site
import struct
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PACKAGE_HOME = Path(__file__).resolve().parents[2]
_OWN_PACKAGES = ("edge_runtime", "calibration")
_SYSTEM_TREES = (
    "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/filesystems",
    "/sys/devices", "/sys/bus/pci", "/sys/class", "/sys/fs/cgroup",
    "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip

_PYTHON_PARTS = ("lib", "lib64", "include", "pyvenv.cfg")
"""Of a prefix of Python; never the prefix itself, below which other data may lie (/usr/local, /srv/app)."""
_NO_LIBRARIES = ("data", "scripts")
"""Paths of an installation: the prefix itself, and programs, of which none is run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use in all."""

    memory_bytes: int
    """Of heap and other private writable memory."""
    cpu_s: int
    """Of all its threads together."""
    file_bytes: int = 0
    """Of each file it writes."""
    descriptors: int = 256


@dataclass(frozen=True, slots=True)
class Protection:
    """Which layers of the kernel hold."""

    landlock_abi: int
    """Version of Landlock's interface; 0: no Landlock, so that files can be read."""
    has_seccomp: bool

    @property
    def problem(self) -> str | None:
        """What a foreign model could do in spite of the limits; None when nothing that is known."""
        if self.landlock_abi > 0 and self.has_seccomp:
            return None
        lacks = [*["Landlock"] * (self.landlock_abi < 1), *["seccomp"] * (not self.has_seccomp)]
        may = "read" if self.has_seccomp else "read, write and send"
        return f"this kernel or service has no {' and no '.join(lacks)}: a hostile model could {may} files of this user"


def lower_limit(kind: int, wanted: int) -> int:
    """Set one of ``resource.RLIMIT_*`` for good, or leave a hard limit that is lower; gives the one in force."""
    _, hard = resource.getrlimit(kind)
    lower = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (lower, lower))
    return lower


def enter(limits: Limits) -> Protection:
    """Give up all rights that opening a model does not need."""
    with contextlib.suppress(OSError):  # the first process to go when the box runs out of memory
        Path("/proc/self/oom_score_adj").write_text("1000")
    lower_limit(resource.RLIMIT_DATA, limits.memory_bytes)
    lower_limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    lower_limit(resource.RLIMIT_NOFILE, limits.descriptors)
    lower_limit(resource.RLIMIT_CORE, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)  # the soft one sends SIGXCPU, which tells why it ended
    if hard == resource.RLIM_INFINITY or hard > limits.cpu_s:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    if sys.platform != "linux" or not _forbid_new_privileges():
        return Protection(0, has_seccomp=False)
    abi = _restrict_files(list_library_trees())
    return Protection(abi, _filter_system_calls())


def list_library_trees() -> list[Path]:
    """The files and folders that Python, the engines and the C library read to work."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    python = {
        *(str(Path(prefix) / name) for prefix in prefixes for name in _PYTHON_PARTS),
        *(place for key, place in sysconfig.get_paths().items() if key not in _NO_LIBRARIES),
        *site.getsitepackages(),
        site.getusersitepackages(),
        sys.executable,
    } - prefixes
    own = [_PACKAGE_HOME / name for name in _OWN_PACKAGES]
    return [path for path in (*own, *map(Path, sorted({*python, *_SYSTEM_TREES}))) if path.exists()]


# --- Landlock ---------------------------------------------------------------------------------------------------------

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every processor
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI -> number of rights of the file system that it knows; the others add none."""
_NET_TCP, _SCOPES = 0b11, 0b11


def _restrict_files(readable: Iterable[Path]) -> int:
    """Allow reading below ``readable`` and nothing else; gives the interface's version, 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = int(libc.syscall(_CREATE, None, 0, _VERSION_FLAG))
    if abi < 1:
        return 0
    rights = (1 << max(count for known, count in _RIGHTS_BY_ABI.items() if known <= abi)) - 1
    fields = [rights, *[_NET_TCP] * (abi >= 4), *[_SCOPES] * (abi >= 6)]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = int(libc.syscall(_CREATE, attributes, len(attributes), 0))
    if ruleset < 0:
        return 0
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        return abi if libc.syscall(_RESTRICT, ruleset, 0) == 0 else 0
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    allowed = _EXECUTE | _READ_FILE | (_READ_DIR if path.is_dir() else 0)
    with contextlib.suppress(OSError):  # gone, or not for this user: then it cannot be needed
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, at), 0)
        finally:
            os.close(at)


# --- seccomp ----------------------------------------------------------------------------------------------------------

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF, on 32-bit words
_ALLOW, _REFUSE, _NOT_THERE = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
_AT_NUMBER, _AT_PROCESSOR, _AT_ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_CLONE_THREAD, _X32 = 0x10000, 0x40000000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PROCESSORS = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables below, and the processor's number in the kernel's audit.h."""
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242),
    "bind": (49, 200), "listen": (50, 201), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "recvfrom": (45, 207), "recvmsg": (47, 212), "recvmmsg": (299, 243), "fork": (57, None), "vfork": (58, None),
    "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129), "tkill": (200, 130), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "setpriority": (141, 140),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "creat": (85, None), "truncate": (76, 45), "rename": (82, None),
    "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "unlink": (87, None),
    "unlinkat": (263, 35), "mknod": (133, None), "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "msgget": (68, 186),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "ioprio_set": (251, 30), "kcmp": (312, 272), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "move_pages": (279, 239), "migrate_pages": (256, 238), "get_robust_list": (274, 100), "setpgid": (109, 154),
    "setsid": (112, 157), "semtimedop": (220, 192), "msgctl": (71, 187), "mq_unlink": (241, 181),
    "fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26), "sync": (162, 81),
    "syncfs": (306, 267), "fspick": (433, 433), "fsconfig": (431, 431), "fsmount": (432, 432), "reboot": (169, 142),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "swapon": (167, 224),
    "swapoff": (168, 225), "iopl": (172, None), "ioperm": (173, None), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "vhangup": (153, 58), "capset": (126, 91),
}  # fmt: skip
"""Number on x86-64 and on arm64; None where there is no such call. Those that reach other processes, the network, the
disk or the box as a whole, and those that a filter cannot see into."""
_OPENING: dict[str, tuple[int | None, int | None, int]] = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""The last figure is the argument with the flags."""
_ON_ITSELF: dict[str, tuple[int, int]] = {
    "tgkill": (234, 131), "prlimit64": (302, 261), "sched_setaffinity": (203, 122),
}  # fmt: skip
"""Allowed with the number of this process, or 0, as first argument."""
_COMMANDS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "fcntl": (72, 25, (8, 10, 15, 1024, 1026)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
    "ioctl": (16, 29, (0x5412, 0x541C, 0x8901, 0x8902)),  # TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP
}
"""Refused with these second arguments: the kernel would signal another process, or type into a terminal."""
_FIRST_UNKNOWN = 463
"""The first number after mseal, of Linux 6.10, the same on both: setxattrat and all later ones are absent."""
_CLONE = (56, 220)
_ABSENT = (435, 437)
"""clone3 and openat2 keep their flags in memory, where a filter cannot look: libraries fall back to the calls above."""

_Code = list[tuple[int, int, int, int]]
"""Instructions: code, jump if true, jump if false, value."""


def _filter_system_calls() -> bool:
    """Refuse what opening a model does not need; whether the kernel took the filter."""
    if platform.machine() not in _PROCESSORS:
        return False
    code = _write_filter(*_PROCESSORS[platform.machine()], os.getpid())
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(packed)))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _write_filter(column: int, processor: int, pid: int) -> _Code:
    code: _Code = [
        (_LOAD, 0, 0, _AT_PROCESSOR),
        (_EQUAL, 1, 0, processor),
        (_RETURN, 0, 0, _REFUSE),  # a call of another processor: the 32-bit ones have other numbers
        (_LOAD, 0, 0, _AT_NUMBER),
        (_ANY_BIT, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code += [(_AT_LEAST, 0, 1, _FIRST_UNKNOWN), (_RETURN, 0, 0, _NOT_THERE)]
    for numbers in _REFUSED.values():
        code += _when(numbers[column], [(_RETURN, 0, 0, _REFUSE)])
    for number in _ABSENT:
        code += _when(number, [(_RETURN, 0, 0, _NOT_THERE)])
    for *numbers_, argument in _OPENING.values():
        code += _when(
            numbers_[column], _check_argument(argument, (_ANY_BIT, 0, 1, _WRITING), _REFUSE, _ALLOW)
        )
    code += _when(_CLONE[column], _check_argument(0, (_ANY_BIT, 0, 1, _CLONE_THREAD), _ALLOW, _REFUSE))
    for itself in _ON_ITSELF.values():
        first = [(_LOAD, 0, 0, _AT_ARGUMENTS), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, pid)]
        code += _when(itself[column], [*first, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)])
    for *call, commands in _COMMANDS.values():
        tests = [one for command in commands for one in _when(command, [(_RETURN, 0, 0, _REFUSE)])]
        second = (_LOAD, 0, 0, _AT_ARGUMENTS + 8)
        code += _when(call[column], [second, *tests, (_RETURN, 0, 0, _ALLOW)])
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def _when(number: int | None, then: _Code) -> _Code:
    """Do ``then``, which ends with a return, for one system call."""
    return [] if number is None else [(_EQUAL, 0, len(then), number), *then]


def _check_argument(argument: int, test: tuple[int, int, int, int], if_true: int, if_false: int) -> _Code:
    """Return one of two answers by a test of the lower half of an argument."""
    return [
        (_LOAD, 0, 0, _AT_ARGUMENTS + 8 * argument),
        test,
        (_RETURN, 0, 0, if_true),
        (_RETURN, 0, 0, if_false),
    ]


def _forbid_new_privileges() -> bool:
    """Without this, neither layer is granted to an ordinary user."""
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
