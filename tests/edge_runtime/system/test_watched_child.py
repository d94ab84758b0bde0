"""A child's words are bounded while they are read, and it is gone afterwards, however it behaves."""

import subprocess
import sys

import psutil
import pytest

from edge_runtime.system.child_process import environment_without_secrets, small_environment, start_child
from edge_runtime.system.watched_child import (
    KEPT_BYTES,
    MOST_ANSWER_BYTES,
    MOST_ERROR_BYTES,
    End,
    LastWords,
    wait_for_child,
)
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

ANSWER, WORDS, STAYS = b"x" * MOST_ANSWER_BYTES, "e" * KEPT_BYTES, "time.sleep(3600)"


def child(script):
    return subprocess.Popen(
        [sys.executable, "-c", f"import os, sys, time, signal\n{script}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("script", "end", "status", "answer", "last_words"),
    [
        ("os.write(1, b'yes')", End.BY_ITSELF, 0, b"yes", ""),
        ("os.write(2, b'no')", End.BY_ITSELF, 0, b"", "no"),
        ("sys.exit(7)", End.BY_ITSELF, 7, b"", ""),
        ("os.close(1); os.close(2); os._exit(3)", End.BY_ITSELF, 3, b"", ""),
        ("os.kill(os.getpid(), signal.SIGTERM)", End.BY_ITSELF, -15, b"", ""),
        (f"os.write(1, b'x' * {MOST_ANSWER_BYTES})", End.BY_ITSELF, 0, ANSWER, ""),
        (f"os.write(1, b'x' * {MOST_ANSWER_BYTES + 1}); {STAYS}", End.TOO_MUCH_OUTPUT, -9, ANSWER, ""),
        (f"os.write(2, b'e' * {MOST_ERROR_BYTES})", End.BY_ITSELF, 0, b"", WORDS),
        (f"os.write(2, b'e' * {MOST_ERROR_BYTES + 1}); {STAYS}", End.TOO_MUCH_OUTPUT, -9, b"", WORDS),
        ("while True: os.write(1, b'x' * 65536)", End.TOO_MUCH_OUTPUT, -9, ANSWER, ""),
        ("while True: os.write(2, b'e' * 65536)", End.TOO_MUCH_OUTPUT, -9, b"", WORDS),
        ("os.write(2, b'\\xff' * 4)", End.BY_ITSELF, 0, b"", "\ufffd" * 4),
    ],
)
def test_what_a_child_says_is_bounded_and_its_end_is_known(script, end, status, answer, last_words):
    process = child(script)
    found = wait_for_child(process, timeout_s=WAIT_S)
    assert (found.end, found.status, found.answer, found.last_words) == (end, status, answer, last_words)
    assert process.returncode is not None


@pytest.mark.parametrize("closes", ["", "os.close(1); os.close(2); "])
def test_a_child_that_stays_is_killed_at_its_time_or_when_asked(closes):
    script = f"{closes}signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    assert wait_for_child(child(script), timeout_s=0.3).end is End.TIMEOUT
    asked = []
    found = wait_for_child(
        child(script), timeout_s=WAIT_S, should_stop=lambda: asked.append(1) or len(asked) > 2
    )
    assert (found.end, found.status) == (End.STOPPED, -9)


def test_the_last_words_of_a_chatty_child_are_read_in_bounded_steps():
    process = child("while True: os.write(1, b'x' * 4095 + b'\\n')")
    words = LastWords(process.stdout)
    try:
        before = until(lambda: words.read() or words.said_bytes)
        words.read()
        assert words.said_bytes - before <= 128 * 16384
        assert set(words.last_line) == {"x"}
        assert len(words.last_line) == 400
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    words.close()
    words.close()
    words.read()


PARENT = """
import sys, time
from edge_runtime.system.child_process import small_environment, start_child
child = start_child("tests.support.slow_imports", [], env=small_environment())
print(child.pid, flush=True)
time.sleep(3600)
"""


def test_a_child_that_still_imports_ends_with_its_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=small_environment(), cwd=ROOT
    )
    orphan = psutil.Process(int(parent.stdout.readline()))
    assert until(lambda: "slow_imports" in " ".join(orphan.cmdline()))
    parent.kill()
    parent.wait(WAIT_S)
    parent.stdout.close()
    assert until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_a_child_whose_parent_is_gone_already_does_not_begin():
    script = "import sys; from edge_runtime.system.child_process import die_with; die_with(1); print('lives')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=small_environment(), cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_no_child_is_told_a_secret(monkeypatch):
    monkeypatch.setenv("EDGE_MQTT_PASSWORD", "hunter2")
    monkeypatch.setenv("OTHER", "value")
    for env in (small_environment(), environment_without_secrets()):
        assert "hunter2" not in env.values()
        assert env["PYTHONPATH"].startswith(str(ROOT))
    assert "OTHER" not in small_environment()
    assert environment_without_secrets()["OTHER"] == "value"
    process = start_child("json.tool", ["--help"], env=small_environment())
    assert process.wait(WAIT_S) == 0
