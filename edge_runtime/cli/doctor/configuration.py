"""The configuration and the bundles it names: ``edge-runtime check`` in a process of its own.

That opens every model. It may take longer than the doctor may, and a broken library may end it.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from edge_runtime.cli.check_certificate import EXPIRED, UNUSABLE
from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.errors import ExitCode
from edge_runtime.system.child_process import start_child, whole_environment
from edge_runtime.system.priority import THREAD_NICENESS

CHECKED = {
    ExitCode.DATA: "bundle.broken",
    ExitCode.UNAVAILABLE: "engine.missing",
    ExitCode.SOFTWARE: "engine.refused",
    ExitCode.IO: "state.unreadable",
}
"""Findings by the exit code that the check gives a problem; every other one is ``configuration.wrong``."""
CERTIFICATE = {UNUSABLE: "certificate.unusable", EXPIRED: "certificate.expired"}
"""Findings by the key."""
_ADVICE = {
    ExitCode.DATA: "install the bundle again (edge-runtime bundle install --help), or another version of it",
    ExitCode.UNAVAILABLE: "see the engine above; a device needs its driver, and as a service its rights",
    ExitCode.SOFTWARE: "edge-runtime check CONFIG shows all of it; try another runtime or device",
    ExitCode.IO: "repair the disk or its rights",
}


def examine_configuration(path: Path, timeout_s: float) -> Iterator[Finding]:
    """Check the file and open its models, at low priority: a daemon may be at work."""
    child = start_child(
        "edge_runtime",
        ["check", str(path), "--json"],
        env=whole_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        _yield_to_daemon(child.pid)
        try:
            answer, said = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            found = f"the models of {path} were not open after {timeout_s:g} s"
            yield note("configuration.slow", found, f"see how it ends: edge-runtime check {path}")
            return
    try:
        checked = orjson.loads(answer)
    except orjson.JSONDecodeError:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        found = f"edge-runtime check {path} ended with {child.returncode}: {last}"
        yield problem("configuration.crash", found, "see all of it: run that command", ExitCode.SOFTWARE)
        return
    yield from judge_check(checked)


def _yield_to_daemon(pid: int) -> None:
    """The daemon goes first; and if memory runs out, this process is the one that is ended."""
    with suppress(OSError):  # it has ended, or /proc is hidden
        os.setpriority(os.PRIO_PROCESS, pid, THREAD_NICENESS)
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def judge_check(checked: dict[str, Any]) -> Iterator[Finding]:
    """Findings of what ``check --json`` printed."""
    for one in checked["problems"]:
        place = f"line {one['line']}: " if one["line"] is not None else ""
        code = one["exit_code"]
        key = f"{one['where']}: " if one["where"] else ""
        found = f"{checked['config']}: {place}{key}{one['problem']}"
        advice = _ADVICE.get(
            code, "edit the file; a running daemon keeps what was in force until it is right"
        )
        if one["where"] in CERTIFICATE:
            advice = "renew the files; a running daemon takes them at once, without a restart"
        found_id = CERTIFICATE.get(one["where"], CHECKED.get(code, "configuration.wrong"))
        yield problem(found_id, found, advice, code)
    for text in checked["notes"]:
        yield note("configuration.note", text)
    for name, model in checked["models"].items():
        yield fine("bundle", f"{name}: {model['bundle']} passes its self-test on {model['runs_on']}")
    if not checked["problems"]:
        yield fine("configuration", f"{checked['config']} is valid")
