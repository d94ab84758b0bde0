"""Opens a model for the first time in a child process, which may crash, hang or exhaust its limits.

Whatever the format says, a model is a program: a loop without end, an operator that asks for gigabytes, a TorchScript
method that writes a file. The child gives up its rights (see ``system.sandbox``), opens the model, warms it up and
answers the golden pictures. Whatever happens to it ends as a refusal, and the daemon goes on serving.

A model that passed is noted in a :class:`PassedModels` folder, so that the next start need not do it again.
"""

import hashlib
import json
import os
import platform
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from edge_runtime.bundles.sandbox_check_child import Answer
from edge_runtime.bundles.verify import Bundle
from edge_runtime.errors import BundleError, OpeningStopped, StateError
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.factory import DEFAULTS, choose_runtime
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.child_process import small_environment, start_child
from edge_runtime.system.sandbox import Limits, Protection
from edge_runtime.system.watched_child import End, Ended, wait_for_child

CHECK_VERSION = 1
"""Part of the key of a passed model: raised when the check becomes stricter."""
_CHILD = "edge_runtime.bundles.sandbox_check_child"
_MIB = 1 << 20
_MEMORY_MIB = {"onnxruntime": 768, "openvino": 1024, "torch": 1536}
"""For the runtime itself and a small model. Measured, EfficientNet-Lite0: 0.3, 0.5 and 0.7 GiB."""
_COPIES_OF_MODEL = 10
"""Weights in memory at once while a graph is optimised: the file, the parsed form, folded, packed, and room."""
_COPIES_OF_INPUT = 100
"""Activations of the largest layers of one picture, in sizes of the input tensor (a first layer of 64 channels at full
size is 21), for several layers and up to four pictures at once."""
_CPU_S, _CPU_S_PER_MIB = {"onnxruntime": 12, "openvino": 15, "torch": 20}, 0.5
"""Measured, EfficientNet-Lite0 (18 MB): 0.5, 1.1 and 2.5 s; a small board takes five times as long."""
_MOST_CPU_S = 80
_WALL_PER_CPU = 2.0
"""A box that is busy gives the child half of a processor."""
_LIBRARIES = ("edge-runtime", "numpy", "onnxruntime", "openvino", "torch")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_KEPT_PASSED = 64
_FIX = "Export it again on a machine you trust, and build the bundle from that file."


@dataclass(frozen=True, slots=True)
class PassedModels:
    """The keys of models that opened in the child before, one small file each in a folder of the daemon's state.

    A bundle cannot get there: it is data below another folder, and a key names its bytes.
    """

    folder: Path
    may_write: bool = True

    def find(self, key: str) -> Protection | None:
        """How the child was protected when this passed; None: it did not, or that cannot be read."""
        try:
            with (self.folder / key).open("rb") as file:
                noted = json.loads(file.read(1024))
            return Protection(int(noted["landlock_abi"]), bool(noted["has_seccomp"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, key: str, protection: Protection) -> None:
        """Remember it; a disk that refuses only costs the next start its time."""
        if not self.may_write:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            oldest_first = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in oldest_first[: -_KEPT_PASSED + 1]:
                path.unlink(missing_ok=True)
            write_atomically(self.folder / key, json.dumps(asdict(protection)).encode())


def check_in_sandbox(
    bundle: Bundle,
    timeout_s: float | None = None,
    *,
    settings: EngineSettings = DEFAULTS,
    passed: PassedModels | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Protection | None:
    """Open a bundle's model and answer its golden pictures in a child process; gives how that was protected.

    Args:
        bundle: Verified; the very bytes that were verified are handed to the child.
        timeout_s: Longest wait; None derives it from the size of the model.
        settings: Of the engine; the child runs on the CPU, whatever device the daemon will use.
        passed: Where to look first, and to note it. None: it is opened in any case.
        should_stop: Asked twenty times a second.

    Returns:
        None where nothing was found out, since this box cannot run the format at all: the engine will say so.

    Raises:
        BundleError: the child crashed, hung or went over its limits, or the engine refuses the model.
        OpeningStopped: ``should_stop`` said so.
    """
    runtime, manifest = choose_runtime(bundle.manifest.format, settings), bundle.manifest
    names = [manifest.model] if manifest.weights is None else [manifest.model, manifest.weights]
    limits = choose_limits(runtime, _measure(bundle, names), manifest.preprocess.tensor_shape)
    job = {
        "limits": asdict(limits),
        "format": manifest.format,
        "runtime": runtime,
        "max_batch": settings.max_batch,
        "preprocess": manifest.preprocess.model_dump(mode="json"),
        "model_files": len(names),
    }
    names += [golden.picture for golden in manifest.golden]
    header = json.dumps(job, sort_keys=True).encode()
    key = _make_key(header, [manifest.files[name] for name in names])
    if passed is not None and (protection := passed.find(key)) is not None:
        return protection
    at = bundle.path / bundle.manifest.model
    ended = _run_child(
        [header, *map(bundle.read, names)], timeout_s or _WALL_PER_CPU * limits.cpu_s, should_stop
    )
    if ended.end is End.STOPPED:
        raise OpeningStopped(
            f"{at}: not used; a later edit or a stop came before it was known whether it opens"
        )
    answer = _read_answer(ended)
    if answer is None or (answer.problem is not None and not answer.is_unknown):
        found = _describe(ended, limits) if answer is None else str(answer.problem)
        allowed = f"{limits.memory_bytes // _MIB} MiB and {limits.cpu_s} s of processor time"
        raise BundleError(at, found, f"a model that opens and answers within {allowed}", _FIX)
    if answer.is_unknown:
        return None
    protection = Protection(answer.landlock_abi, answer.has_seccomp)
    if passed is not None:
        passed.note(key, protection)
    return protection


def choose_limits(runtime: str, model_bytes: int, tensor_shape: tuple[int, ...]) -> Limits:
    """What opening and answering may take: more for large models and pictures, at most half of the box's memory."""
    elements = 1
    for size in tensor_shape:
        elements *= size
    wanted = _MEMORY_MIB[runtime] * _MIB + _COPIES_OF_MODEL * model_bytes + _COPIES_OF_INPUT * 4 * elements
    most = max(_MEMORY_MIB[runtime] * _MIB, psutil.virtual_memory().total // 2)
    cpu_s = min(_MOST_CPU_S, round(_CPU_S[runtime] + _CPU_S_PER_MIB * model_bytes / _MIB))
    return Limits(min(wanted, most), cpu_s)


def _measure(bundle: Bundle, names: list[str]) -> int:
    try:
        return sum((bundle.path / name).stat().st_size for name in names)
    except OSError as err:
        raise BundleError(bundle.path, f"cannot be read: {err.strerror}", "a whole bundle", _FIX) from err


def _make_key(header: bytes, hashes: list[str]) -> str:
    """Digest of everything that the outcome depends on: bytes, limits, libraries, processor, this check."""
    facts = [CHECK_VERSION, platform.machine(), platform.python_version(), *map(_version_of, _LIBRARIES)]
    return hashlib.sha256(header + json.dumps([*facts, *hashes]).encode()).hexdigest()


def _version_of(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _run_child(parts: Iterable[bytes], timeout_s: float, should_stop: Callable[[], bool]) -> Ended:
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
                    env=small_environment() | _ONE_THREAD,
                    pass_fds=[file],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=folder,
                )
                return wait_for_child(process, timeout_s=timeout_s, should_stop=should_stop)
        finally:
            os.close(file)
    except OSError as err:
        raise StateError(f"cannot start the process that opens a model first: {err.strerror}") from err


@contextmanager
def _empty_folder() -> Iterator[Path]:
    """To work in, so that a relative path leads nowhere; on a full disk the top one, which is nearly as good."""
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
        return Answer(**json.loads(ended.answer))
    except (ValueError, TypeError):
        return None


def _describe(ended: Ended, limits: Limits) -> str:
    match ended.end:
        case End.TIMEOUT:
            return "not open and answered in time"
        case End.TOO_MUCH_OUTPUT:
            return "opening it printed without end"
    if -ended.status in (signal.SIGXCPU, signal.SIGKILL):
        return f"opening it took more than {limits.cpu_s} s of processor time, or the box had no memory left"
    words = ended.last_words.strip().splitlines()
    last = words[-1][:500] if words else "no message"
    if ended.status < 0:
        return f"opening it ended its process with {signal.Signals(-ended.status).name} ({last})"
    return f"opening it failed: {last}"
