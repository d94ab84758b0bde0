"""Stands for the process that opens a model first, when it misbehaves: ``python -m tests.support.broken_child HOW``."""

import json
import os
import signal
import sys
import time

GOOD = {"problem": None, "is_unknown": False, "landlock_abi": 7, "has_seccomp": True}


def flood(stream: int) -> None:
    while True:
        os.write(stream, b"x" * 65536)


def close_and_stay() -> None:
    os.close(1)
    os.close(2)
    time.sleep(3600)


def answer_and_die() -> None:
    os.write(1, json.dumps(GOOD).encode())
    os.kill(os.getpid(), signal.SIGSEGV)


WAYS = {
    "answers": lambda: os.write(1, json.dumps(GOOD).encode()),
    "floods its answer": lambda: flood(1),
    "floods its errors": lambda: flood(2),
    "says nothing": lambda: None,
    "says it with an error code": lambda: sys.exit(f"{json.dumps(GOOD)}"),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "aborts": os.abort,
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "runs out of time": lambda: os.kill(os.getpid(), signal.SIGXCPU),
    "answers and crashes": answer_and_die,
    "answers half": lambda: os.write(1, json.dumps(GOOD).encode()[:20]),
    "answers a list": lambda: os.write(1, b"[]"),
    "answers other fields": lambda: os.write(1, b'{"ok": true}'),
    "answers twice": lambda: os.write(1, 2 * json.dumps(GOOD).encode()),
    "answers bytes": lambda: os.write(1, b"\xff\xfe"),
    "hangs": lambda: time.sleep(3600),
    "closes its pipes and stays": close_and_stay,
    "ignores being asked to end": lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN), time.sleep(3600)),
}

if __name__ == "__main__":
    WAYS[os.environ.get("HOME", "")]()
