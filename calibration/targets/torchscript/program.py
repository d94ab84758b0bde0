"""Loads, saves and runs TorchScript files; errors of torch become errors of this library.

torch warns at every step that TorchScript is deprecated. Files made with it are in use all the same, so this module
hides those warnings.
"""

import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form.decide import make_safe

TORCH_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    torch.jit.Error,
    torch.FatalError,
    IndexError,
    TypeError,
    ValueError,
)
"""What torch raises when a module is loaded, optimised or run. ``torch.jit.Error``, which carries the ``raise`` and
``assert`` of a script, is no RuntimeError (torch 2.13; a test compares this with torch's own classes); the last three
come from operators."""

OUTPUT = "output"
"""Name of an unnamed output; the second one is ``output_1``."""


def load(name: str, data: bytes) -> Any:
    """The ``ScriptModule`` in a file's bytes, on the CPU, in evaluation mode.

    Raises:
        ModelError: it is not TorchScript, or needs operators that this torch does not have.
    """
    with _translate_refusal(name, data):
        module = torch.jit.load(io.BytesIO(data), map_location="cpu")
    module.eval()
    return module


def load_functions(name: str, data: bytes) -> list[Any]:
    """All functions and methods that a file defines, called or not; each has a ``graph``.

    Loading runs the ``__setstate__`` methods in it: for a process with limits.

    Raises:
        ModelError: it is not TorchScript, or needs operators that this torch does not have.
    """
    unit = torch._C.CompilationUnit()  # torch.jit.load makes one too, and keeps it out of reach
    with _translate_refusal(name, data):
        torch._C.import_ir_module_from_buffer(unit, data, torch.device("cpu"), {}, False)
    return list(unit.get_functions())


@contextmanager
def _translate_refusal(name: str, data: bytes) -> Iterator[None]:
    """What torch says against a file, as an error of this library.

    Raises:
        ModelError: torch refuses the file.
    """
    make_safe(ModelFiles(data), name, "torchscript")
    try:
        with _quiet():
            yield
    except TORCH_FAILURES as err:
        fix = "Save it with torch.jit.save(torch.jit.script(model.eval()), path), or torch.jit.trace."
        sentence = str(err).strip().split("\n", 1)[0].split(". ", 1)[0].strip()
        found = f"torch.jit.load refuses it ({sentence})"
        if _mentions_packed_weights(data):
            found = "saved behind torch.jit.optimize_for_inference, which no torch can load again"
            fix = "Save the module as it was before that call; torch.jit.freeze is fine."
        raise ModelError(name, found, "a whole TorchScript file", fix) from err


def fold(module: Any) -> Any:
    """The same module with its parameters as constants and BatchNorms folded: two thirds of the time on Lite0.

    Answers differ by float32 rounding (2e-5 in logits of 10). A module that cannot be frozen comes back as it is.
    """
    try:
        with _quiet():
            return torch.jit.freeze(module)
    except TORCH_FAILURES:  # it changes its own attributes, or is one that torch has frozen already
        return module


def save(module: Any) -> bytes:
    """The bytes of a ``ScriptModule`` or ``ScriptFunction``, as ``torch.jit.load`` reads them."""
    buffer = io.BytesIO()
    with _quiet():
        torch.jit.save(module, buffer)
    return buffer.getvalue()


@contextmanager
def running(name: str, threads: int, *, with_gradients: bool = False) -> Iterator[None]:
    """Run passes inside: ``threads`` threads (global to the process, put back after), errors translated.

    Without gradients unless they are asked for, whatever they are outside.

    Without the optimizing executor: it would rewrite and compile graphs that run only a few times.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with (
            _quiet(),
            torch.inference_mode(not with_gradients),
            torch.set_grad_enabled(with_gradients),
            torch.jit.optimized_execution(False),
        ):
            yield
    except TORCH_FAILURES as err:
        fix = (
            "Check that the samples have the size that the model was made for, and that it takes any number of "
            "them: a traced model must not have the batch size in a view or reshape."
        )
        if isinstance(err, torch.jit.Error):
            fix = "An assert or raise of the model itself refuses these samples: leave them out, or take it out."
        # TorchScript puts its own traceback first and the reason last.
        reason = str(err).strip().rsplit("\n", 1)[-1].strip()
        raise ModelError(name, f"torch failed ({reason})", "a model that runs", fix) from err
    finally:
        torch.set_num_threads(before)


def name_outputs(answer: Any, frames: int) -> dict[str, NDArray[Any]]:
    """The outputs of a model as arrays by name; outputs whose first axis is not the ``frames`` are left out.

    A tensor is ``output``; the parts of tuples and lists ``output``, ``output_1``…; those of a dict have its keys.
    """
    tensors = flat_tensors(answer)
    values = {name: tensors[place] for name, place in place_outputs(answer, frames).items()}
    return {
        name: (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
        for name, value in values.items()
    }


def place_outputs(answer: Any, frames: int) -> dict[str, int]:
    """The places in :func:`flat_tensors` of the outputs that :func:`name_outputs` gives."""
    found: dict[str, int] = {}
    for place, (name, value) in enumerate(_flat(answer, "")):
        if not value.ndim or value.shape[0] != frames:
            continue
        unnamed = sum(key == OUTPUT or key.startswith(OUTPUT + "_") for key in found)
        found[name or (f"{OUTPUT}_{unnamed}" if unnamed else OUTPUT)] = place
    return found


def flat_tensors(answer: Any) -> list[Any]:
    """All tensors of an answer, those in tuples, lists and dicts too."""
    return [value for _, value in _flat(answer, "")]


def _flat(answer: Any, name: str) -> Iterator[tuple[str, Any]]:
    match answer:
        case torch.Tensor():
            yield name, answer
        case Mapping():
            for key, value in answer.items():
                yield from _flat(value, f"{name}/{key}" if name else str(key))
        case str():
            return
        case Sequence():
            for i, value in enumerate(answer):
                yield from _flat(value, f"{name}_{i}" if name and i else name)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        yield


def _mentions_packed_weights(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            code = [name for name in archive.namelist() if name.endswith(".py")]
            return any(b"ConstantMKLDNNTensor" in archive.read(name) for name in code)
    except zipfile.BadZipFile:
        return False
