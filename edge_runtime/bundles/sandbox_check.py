"""Opens a TorchScript file for the first time in a child process, which may crash, hang or exhaust its memory.

Such a file is a program with a pickle in it. A crash of the child ends as a refusal, and the daemon goes on serving
other cameras. ``python -m edge_runtime.bundles.sandbox_check FILE C H W`` is the child.
"""

import os
import resource
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from edge_runtime.bundles.verify import Bundle
from edge_runtime.errors import BundleError, EngineError
from edge_runtime.inference.engines.base import EngineSettings

TIMEOUT_S = 120.0
MEMORY_BYTES = 4 << 30
"""Of heap; loading torch itself takes 0.3 GiB."""
_FIX = "Save it again with torch.jit.save on a machine you trust, and build the bundle from that file."


def check_in_sandbox(bundle: Bundle, timeout_s: float = TIMEOUT_S) -> None:
    """Load a TorchScript model and run it once on zeros in a child process; models of other formats pass at once.

    Raises:
        BundleError: the child crashed, hung or ran out of memory, or torch refuses the file.
    """
    if bundle.manifest.format != "torchscript" or find_spec("torch") is None:
        return  # without torch nothing can be opened, and the engine says what to install
    at, expected = bundle.path / bundle.manifest.model, "a TorchScript model that loads and runs"
    file = os.memfd_create("sandbox-check", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as writer:
            writer.write(bundle.model_files.data)
        shape = [str(size) for size in bundle.manifest.preprocess.tensor_shape]
        command = [
            sys.executable,
            "-m",
            "edge_runtime.bundles.sandbox_check",
            f"/proc/self/fd/{file}",
            *shape,
        ]
        done = subprocess.run(command, pass_fds=[file], capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as err:
        raise BundleError(at, f"not open and answered within {timeout_s:g} s", expected, _FIX) from err
    finally:
        os.close(file)
    if done.returncode == 0:
        return
    if done.returncode < 0:
        found = f"opening it ended its process with {signal.Signals(-done.returncode).name}"
    else:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        found = words[-1][:500] if words else f"exit code {done.returncode}"
    raise BundleError(at, found, expected, _FIX)


def main(arguments: list[str]) -> int:
    """Open the file and run it once; the last line on standard error is the reason of a refusal."""
    path, *sizes = arguments
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from calibration.targets.base import ModelFiles
    from edge_runtime.inference.engines.factory import open_engine
    from edge_runtime.inference.engines.threads import ThreadPlan

    model, shape = ModelFiles(Path(path).read_bytes()), [int(size) for size in sizes]
    settings, plan = EngineSettings(runtime="torch"), ThreadPlan(1, 1, "sandbox check")
    try:
        open_engine(model, "torchscript", shape, plan, settings)
    except (EngineError, MemoryError) as err:
        sys.stderr.write(f"{err or 'more memory than it may have'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
