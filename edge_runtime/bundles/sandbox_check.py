"""Opens a model for the first time in a child process, which may crash, hang or exhaust its limits.

Whatever the format says, a model is a program: a loop without end, an operator that asks for gigabytes, a TorchScript
method that writes a file. The child gives up its rights (see ``system.sandbox``), opens the model, warms it up and
answers the golden pictures. Whatever happens to it ends as a refusal, and the daemon goes on serving.

A model that passed is noted (see ``passed_models``), so that the next start need not do it again.
"""

import hashlib
import json
import math
import os
import platform
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import psutil

from edge_runtime import __version__
from edge_runtime.bundles.opening_limits import OpeningLimits, choose_limits
from edge_runtime.bundles.passed_models import PassedModels
from edge_runtime.bundles.sandbox_check_child import PROGRESS, Answer
from edge_runtime.bundles.verify import Bundle
from edge_runtime.errors import BundleError, OpeningStopped, StateError
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.factory import DEFAULTS, choose_runtime
from edge_runtime.system.child_process import ONE_THREAD, small_environment, start_child
from edge_runtime.system.sandbox import Limits, Protection
from edge_runtime.system.watched_child import End, Ended, wait_for_child

CHECK_VERSION = 1
"""Part of the key of a passed model: raised when the check becomes stricter."""
_CHILD = "edge_runtime.bundles.sandbox_check_child"
_OWN_CODE = Path(__file__).resolve().parent.parent
_FIX = "Export it again on a machine you trust, and build the bundle from that file."
_FIX_LARGE = f"{_FIX} If it is to be trusted and only large, set engine.opening_mib of the model."


def check_in_sandbox(
    bundle: Bundle,
    timeout_s: float | None = None,
    *,
    settings: EngineSettings = DEFAULTS,
    memory_mib: int | None = None,
    passed: PassedModels | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Protection | None:
    """Open a bundle's model and answer its golden pictures in a child process; gives how that was protected.

    Args:
        bundle: Verified; the very bytes that were verified are handed to the child.
        timeout_s: For opening, and for each golden picture; None derives it from the size of the model.
        settings: Of the engine; the child runs on the CPU, whatever device the daemon will use.
        memory_mib: It may take so much; None derives it from the sizes of model and picture.
        passed: Where to look first, and to note it. None: it is opened in any case.
        should_stop: Asked twenty times a second.

    Returns:
        None where nothing was found out: this box cannot run the format at all (the engine will say so), or the bundle
        is the demo's, which was installed with this code and is trusted as it is.

    Raises:
        BundleError: the child crashed, hung or went over its limits, or the engine refuses the model.
        OpeningStopped: ``should_stop`` said so.
    """
    if bundle.path.resolve().is_relative_to(_OWN_CODE):
        return None
    runtime, manifest = choose_runtime(bundle.manifest.format, settings), bundle.manifest
    names = [manifest.model] if manifest.weights is None else [manifest.model, manifest.weights]
    shape, box_bytes = manifest.preprocess.tensor_shape, psutil.virtual_memory().total
    limits = choose_limits(
        runtime, _measure(bundle, names), shape, len(manifest.golden), box_bytes, memory_mib
    )
    job = {
        "limits": asdict(Limits(limits.memory_bytes, math.ceil(limits.in_all_s))),
        "format": manifest.format,
        "runtime": runtime,
        "max_batch": settings.max_batch,
        "preprocess": manifest.preprocess.model_dump(mode="json"),
        "model_files": len(names),
    }
    names += [golden.input for golden in manifest.golden]
    header = json.dumps(job, sort_keys=True).encode()
    key = _make_key(header, runtime, [manifest.files[name] for name in names])
    if passed is not None and (protection := passed.find(key)) is not None:
        return protection
    if timeout_s is not None:
        limits = replace(limits, step_s=timeout_s)
    ended = _run_child([header, *map(bundle.read, names)], limits, should_stop)
    protection = _judge(ended, limits, bundle.path / manifest.model)
    if protection is not None and passed is not None:
        passed.note(key, protection)
    return protection


def _judge(ended: Ended, limits: OpeningLimits, at: Path) -> Protection | None:
    """The protection of a child that opened the model; errors and None as ``check_in_sandbox`` has them."""
    if ended.end is End.STOPPED:
        raise OpeningStopped(
            f"{at}: not used; a later edit or a stop came before it was known whether it opens"
        )
    answer = _read_answer(ended)
    if answer is None or answer.is_out_of_memory:
        found = _describe(ended) if answer is None else str(answer.problem)
        raise BundleError(at, found, f"a model that opens and answers within {limits}", _FIX_LARGE)
    if answer.is_unknown:
        return None
    if answer.problem is not None:
        raise BundleError(at, answer.problem, "a model that opens, and only computes", _FIX)
    return Protection(answer.landlock_abi, answer.has_seccomp)


def _measure(bundle: Bundle, names: list[str]) -> int:
    try:
        return sum((bundle.path / name).stat().st_size for name in names)
    except OSError as err:
        raise BundleError(bundle.path, f"cannot be read: {err.strerror}", "a whole bundle", _FIX) from err


def _make_key(header: bytes, runtime: str, hashes: list[str]) -> str:
    """Digest of everything that the outcome depends on: bytes, limits, libraries, processor, this check."""
    versions = [__version__, _version_of("numpy"), _version_of(runtime)]
    facts = [CHECK_VERSION, platform.machine(), platform.python_version(), *versions]
    return hashlib.sha256(header + json.dumps([*facts, *hashes]).encode()).hexdigest()


def _version_of(library: str) -> str | None:
    """The names of its distributions, which hold their versions; None: it is not installed.

    Nothing is imported: the library may be large, and ``importlib.metadata`` takes 35 ms of every start.
    """
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    names = sorted(path.name for path in package.parent.glob(f"{library}*-info"))
    return " ".join(names) or str(package.stat().st_mtime_ns)


def _run_child(parts: Iterable[bytes], limits: OpeningLimits, should_stop: Callable[[], bool]) -> Ended:
    """Hand the parts over, one after the other, and wait.

    Raises:
        StateError: no process, memory or descriptor left.
    """
    try:
        file = os.memfd_create("sandbox-check", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(file), "wb") as writer:
                sizes = [str(writer.write(part)) for part in parts]
            os.lseek(file, 0, os.SEEK_SET)
            with _empty_folder() as folder:
                process = start_child(
                    _CHILD,
                    [str(file), *sizes],
                    env=small_environment() | ONE_THREAD | {"MALLOC_ARENA_MAX": "1"},
                    pass_fds=[file],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=folder,
                )
                return wait_for_child(
                    process, timeout_s=limits.step_s, in_all_s=limits.in_all_s, should_stop=should_stop
                )
        finally:
            os.close(file)
    except OSError as err:
        raise StateError(f"cannot start the process that opens a model first: {err.strerror}") from err


@contextmanager
def _empty_folder() -> Iterator[Path]:
    """To work in, so that a relative path leads nowhere; on a full disk the top one, which is nearly as good.

    It stays as long as the process does: oneMKL ends a process in whose folder getcwd(3) fails.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="edge-open-"))
    except OSError:
        yield Path("/")
        return
    try:
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()


def _read_answer(ended: Ended) -> Answer | None:
    """The child's answer; None when it was ended before it could give one."""
    if ended.end is not End.BY_ITSELF or ended.status != 0:
        return None
    try:
        return Answer(**json.loads(ended.answer.lstrip(PROGRESS)))
    except (ValueError, TypeError):
        return None


def _describe(ended: Ended) -> str:
    match ended.end:
        case End.TIMEOUT:
            return "not open and answered in time"
        case End.TOO_MUCH_OUTPUT:
            return "opening it printed without end"
    if -ended.status in (signal.SIGXCPU, signal.SIGKILL):
        return "opening it took too much processor time, or the box had no memory left"
    words = ended.last_words.strip().splitlines()
    last = words[-1][:500] if words else "no message"
    if ended.status < 0:
        return f"opening it ended its process with {_name_signal(-ended.status)} ({last})"
    return f"opening it failed: {last}"


def _name_signal(number: int) -> str:
    """Its name; most of those of real time have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
