"""Whether the libraries of the models' formats are there and can be loaded."""

import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.errors import ExitCode
from edge_runtime.system.child_process import environment_without_secrets, start_child
from edge_runtime.system.model_formats import RUNTIMES, Runtime

_CHILD = "edge_runtime.cli.doctor.engine_child"
_EXTRAS: Mapping[str, str] = {"openvino": "[openvino]", "torch": "[torch]", "onnxruntime": ""}
ALL: tuple[Runtime, ...] = tuple(
    dict.fromkeys(runtime for fitting in RUNTIMES.values() for runtime in fitting)
)


@dataclass(frozen=True, slots=True)
class Import:
    """How the import of a library went."""

    version: str | None = None
    reason: str = ""
    is_missing: bool = False
    is_late: bool = False


def examine_engine(runtime: Runtime, models: tuple[str, ...], timeout_s: float) -> Iterator[Finding]:
    """Look at one library; ``models`` need it, and without any of them it is no problem when it is not there."""
    yield judge_import(runtime, models, try_import(runtime, timeout_s))


def judge_import(runtime: Runtime, models: tuple[str, ...], tried: Import) -> Finding:
    """What the import of a library means for the models that need it."""
    needed = f"needed for {', '.join(models)}" if models else "no model needs it"
    install = f"pip install 'edge-runtime{_EXTRAS[runtime]}' into the environment of the service"
    if tried.version is not None:
        return fine("engine", f"{runtime} {tried.version} can be loaded ({needed})")
    if tried.is_late:
        return note("engine.slow", f"{runtime} was not loaded in time", "the box is busy; run doctor again")
    if tried.is_missing:
        found = f"{runtime} is not installed ({needed})"
        return (
            problem("engine.missing", found, install, ExitCode.UNAVAILABLE)
            if models
            else fine("engine", found)
        )
    found = f"{runtime} is installed and cannot be loaded ({needed}): {tried.reason}"
    advice = f"{_advise(tried.reason)}; then {install}"
    return (
        problem("engine.broken", found, advice, ExitCode.UNAVAILABLE)
        if models
        else note("engine.broken", found, advice)
    )


def _advise(reason: str) -> str:
    """By what the loader says of a library that was made for another box."""
    if "GLIBC" in reason:  # also of GLIBCXX, the one of C++
        have = " ".join(platform.libc_ver())
        return f"it was built for a newer system (this one has {have}): take an older release, or update the system"
    if "ELF" in reason or "wrong architecture" in reason:
        return f"it was built for another processor (this one is {platform.machine()})"
    if "cannot open shared object file" in reason:
        return "install the system's package with the file that it names"
    return "remove it"


def try_import(runtime: Runtime, timeout_s: float) -> Import:
    """Import a library in a process of its own."""
    child = start_child(_CHILD, [runtime], env=environment_without_secrets(), stdout=subprocess.PIPE)
    with child:
        try:
            answer, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            return Import(is_late=True)
    lines = answer.splitlines()  # a library may greet
    if child.returncode != 0 or not lines:
        return Import(reason=f"the process that loaded it ended with {child.returncode}")
    return Import(**orjson.loads(lines[-1]))
