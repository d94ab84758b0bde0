"""What a process may no longer do once it has given up its rights: tried by real processes."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from edge_runtime.system import sandbox
from edge_runtime.system.sandbox import Protection
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

TRY_ALL = """
import fcntl, json, os, resource, socket, sys, threading
from pathlib import Path
from edge_runtime.system import sandbox

folder = Path(sys.argv[1])
inherited = (folder / "mine.txt").open("r+b", buffering=0)
protection = sandbox.enter(sandbox.Limits(256 << 20, 60))

def write_inherited():
    inherited.write(b"x" * 4096)

def start_thread():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

tries = {
    "read a file": lambda: (folder / "mine.txt").read_bytes(),
    "read the user list": lambda: Path("/etc/passwd").read_bytes(),
    "read the parent's secrets": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "list a folder": lambda: os.listdir(folder),
    "write a file": lambda: (folder / "new.txt").write_bytes(b"x"),
    "write an open file": write_inherited,
    "truncate": lambda: os.truncate(folder / "mine.txt", 0),
    "remove": lambda: (folder / "mine.txt").unlink(),
    "rename": lambda: (folder / "mine.txt").rename(folder / "other"),
    "link": lambda: os.link(folder / "mine.txt", folder / "other"),
    "symlink": lambda: os.symlink("/etc/passwd", folder / "other"),
    "make a folder": lambda: (folder / "sub").mkdir(),
    "change rights": lambda: (folder / "mine.txt").chmod(0o777),
    "change times": lambda: os.utime(folder / "mine.txt", (1, 1)),
    "open a socket": lambda: socket.socket(),
    "open a unix socket": lambda: socket.socket(socket.AF_UNIX),
    "fork": lambda: os.fork() or os._exit(0),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "limit the parent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU),
    "move the parent to one CPU": lambda: os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0)),
    "let the kernel signal the parent": lambda: fcntl.fcntl(inherited, fcntl.F_SETOWN, os.getppid()),
    "leave the process group": os.setsid,
    "set the clock": lambda: __import__("time").clock_settime(0, __import__("time").time()),
    "place itself": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "look at flags": lambda: fcntl.fcntl(inherited, fcntl.F_GETFL),
    "make a file in memory": lambda: os.memfd_create("x"),
    "take memory": lambda: bytearray(512 << 20),
    "take back a limit": lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30)),
    "start a thread": start_thread,
    "import numpy": lambda: __import__("numpy"),
    "read own status": lambda: Path("/proc/self/status").read_text(),
}
done = []
for name, act in tries.items():
    try:
        act()
    except (OSError, MemoryError, ValueError):
        continue
    done.append(name)
print(json.dumps({"abi": protection.landlock_abi, "seccomp": protection.has_seccomp, "done": done}))
"""
ALLOWED = {"start a thread", "import numpy", "read own status", "place itself", "look at flags"}
READING = {"read a file", "read the user list", "read the parent's secrets", "list a folder"}


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, env=env, cwd=ROOT, timeout=WAIT_S, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "mine.txt").write_bytes(b"mine")
    done = run(TRY_ALL, folder)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert (folder / "mine.txt").read_bytes() == b"mine"
    return json.loads(done.stdout)


def test_only_what_opening_a_model_needs_is_left(found):
    unprotected = READING if found["abi"] == 0 else set()
    assert set(found["done"]) == ALLOWED | unprotected, found


def test_a_process_that_takes_too_much_time_is_ended_by_the_kernel():
    script = (
        "from edge_runtime.system import sandbox\nsandbox.enter(sandbox.Limits(1 << 30, 1))\nwhile True: pass"
    )
    assert run(script).returncode == -24  # SIGXCPU


@pytest.mark.parametrize(("hard", "wanted", "expected"), [(64, 128, 64), (64, 32, 32), (64, 64, 64)])
def test_a_limit_is_only_ever_lowered(hard, wanted, expected):
    script = (
        f"import resource; from edge_runtime.system.sandbox import lower_limit as lower\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({hard}, {hard}))\n"
        f"print(lower(resource.RLIMIT_NOFILE, {wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert run(script).stdout.split() == [str(expected).encode()] * 3


@pytest.mark.parametrize(
    ("protection", "words"),
    [
        (Protection(7, has_seccomp=True), None),
        (Protection(1, has_seccomp=True), None),
        (Protection(0, has_seccomp=True), "no Landlock"),
        (Protection(7, has_seccomp=False), "no seccomp"),
        (Protection(0, has_seccomp=False), "no Landlock and no seccomp"),
    ],
)
def test_a_layer_that_is_missing_is_named(protection, words):
    assert (protection.problem is None) if words is None else (words in protection.problem)


@pytest.mark.parametrize("column", [0, 1])
def test_the_filter_of_each_processor_is_a_program_that_the_kernel_takes(column):
    code = sandbox._write_filter(column, 1, 4711)
    assert len(code) < 4096
    for at, (operation, if_true, if_false, _) in enumerate(code):
        assert 0 <= if_true < 256
        assert 0 <= if_false < 256
        assert operation == 6 or at + 1 + max(if_true, if_false) < len(code)
    assert code[-1][0] == 6


def decide(code, processor, number, *arguments):
    """What the kernel answers to a system call: a small interpreter of classic BPF."""
    data = struct.pack("=IIQ6Q", number, processor, 0, *arguments, *[0] * (6 - len(arguments)))
    at, word = 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                [word] = struct.unpack_from("=I", data, value)
            case 0x15:
                at += if_true if word == value else if_false
            case 0x35:
                at += if_true if word >= value else if_false
            case 0x45:
                at += if_true if word & value else if_false
            case 0x06:
                return {0x7FFF0000: "allowed", 0x50001: "refused", 0x50026: "absent"}[value]


ME, OTHER, THREAD_FLAGS, VFORK_FLAGS = 4711, 4712, 0x3D0F00, 0x4111
CALLS = {  # what: (number on x86-64, on arm64, arguments, answer)
    "read": (0, 63, (), "allowed"),
    "mmap": (9, 222, (), "allowed"),
    "futex": (202, 98, (), "allowed"),
    "exit_group": (231, 94, (), "allowed"),
    "openat to read": (257, 56, (0, 0, os.O_RDONLY | os.O_CLOEXEC), "allowed"),
    "openat to write": (257, 56, (0, 0, os.O_WRONLY), "refused"),
    "openat to read and write": (257, 56, (0, 0, os.O_RDWR), "refused"),
    "openat to create": (257, 56, (0, 0, os.O_CREAT), "refused"),
    "openat with bits above 32": (257, 56, (0, 0, os.O_WRONLY | 1 << 40), "refused"),
    "openat2": (437, 437, (), "absent"),
    "a thread": (56, 220, (THREAD_FLAGS,), "allowed"),
    "a process": (56, 220, (VFORK_FLAGS,), "refused"),
    "clone3": (435, 435, (), "absent"),
    "abort itself": (234, 131, (ME, ME, 6), "allowed"),
    "signal another": (234, 131, (OTHER, OTHER, 9), "refused"),
    "own limits": (302, 261, (0, 3), "allowed"),
    "limits of another": (302, 261, (OTHER, 3), "refused"),
    "socket": (41, 198, (2, 1), "refused"),
    "execve": (59, 221, (), "refused"),
    "ptrace": (101, 117, (), "refused"),
    "unlinkat": (263, 35, (), "refused"),
    "io_uring_setup": (425, 425, (), "refused"),
    "kill": (62, 129, (OTHER, 9), "refused"),
    "memfd_create": (319, 279, (), "refused"),
    "own CPUs": (203, 122, (0,), "allowed"),
    "own CPUs by number": (203, 122, (ME,), "allowed"),
    "CPUs of another": (203, 122, (OTHER,), "refused"),
    "a queued signal": (129, 138, (OTHER, 9), "refused"),
    "a queued signal to a thread": (297, 240, (OTHER, OTHER, 9), "refused"),
    "order of input and output": (251, 30, (1, OTHER), "refused"),
    "advice for another": (440, 440, (), "refused"),
    "pages of another": (279, 239, (OTHER,), "refused"),
    "comparing others": (312, 272, (OTHER,), "refused"),
    "owner of a pipe": (72, 25, (3, 8, OTHER), "refused"),
    "signal of a pipe": (72, 25, (3, 10, 9), "refused"),
    "owner of a pipe in memory": (72, 25, (3, 15), "refused"),
    "a copy of a descriptor": (72, 25, (3, 1030), "allowed"),
    "typing into a terminal": (16, 29, (0, 0x5412), "refused"),
    "size of a terminal": (16, 29, (0, 0x5413), "allowed"),
    "the clock": (227, 112, (), "refused"),
    "restart of the box": (169, 142, (), "refused"),
    "mseal": (462, 462, (), "allowed"),
    "setxattrat": (463, 463, (), "absent"),
    "a call of the future": (2000, 2000, (), "absent"),
}


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("processor", sandbox._PROCESSORS)
def test_the_filter_answers_each_call_as_meant_on_each_processor(processor, what):
    column, audit = sandbox._PROCESSORS[processor]
    code = sandbox._write_filter(column, audit, ME)
    *numbers, arguments, answer = CALLS[what]
    assert decide(code, audit, numbers[column], *arguments) == answer
    assert decide(code, 0x40000003, numbers[column], *arguments) == "refused"  # 32-bit calls


def test_the_trees_that_stay_readable_hold_the_engines_and_nobodys_data(tmp_path):
    trees = sandbox.list_library_trees()
    assert any(Path(onnxruntime.__file__).is_relative_to(tree.resolve()) for tree in trees)
    for private in ("/", "/etc", "/home", "/root", "/var", "/tmp", str(tmp_path), str(ROOT)):
        assert not any(Path(private).is_relative_to(tree) for tree in trees), private


PREFIXES = [
    ("/usr/local", "/usr/local"), ("/usr", "/usr"), ("{tmp}/venv", "/usr/local"), ("{tmp}/venv", "/usr"),
    ("{tmp}", "/usr/local"), ("{tmp}", "{tmp}"), ("{tmp}/venv", "{tmp}"), ("/opt", "/opt"), ("/", "/"), ("/home", "/"),
]  # fmt: skip


@pytest.mark.parametrize(("prefix", "base"), PREFIXES)
def test_no_prefix_of_python_is_readable_as_a_whole(prefix, base, tmp_path, monkeypatch):
    for name in ("lib", "data", "venv/lib", "venv/data"):
        (tmp_path / name).mkdir(parents=True)
    for name, value in (
        ("prefix", prefix),
        ("exec_prefix", prefix),
        ("base_prefix", base),
        ("base_exec_prefix", base),
    ):
        monkeypatch.setattr(sys, name, value.format(tmp=tmp_path))
    used = dict.fromkeys(("data", "scripts"), sys.prefix) | {"stdlib": f"{sys.base_prefix}/lib/python3"}
    monkeypatch.setattr(sandbox.sysconfig, "get_paths", lambda: used)
    monkeypatch.setattr(sandbox.site, "getsitepackages", lambda: [sys.prefix, f"{sys.prefix}/lib"])
    trees = sandbox.list_library_trees()
    private = [
        sys.prefix,
        sys.base_prefix,
        "/usr/local/etc",
        "/usr/local/share",
        tmp_path / "data",
        tmp_path / "venv/data",
    ]
    for path in map(Path, private):
        assert not any(path.is_relative_to(tree) for tree in trees), path
    for folder in (tmp_path / "lib", tmp_path / "venv/lib"):
        is_used = folder.parent in (Path(sys.prefix), Path(sys.base_prefix))
        assert (folder in trees) is is_used
