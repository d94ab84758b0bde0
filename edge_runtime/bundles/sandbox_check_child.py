"""The process that opens a model first: ``python -m edge_runtime.bundles.sandbox_check_child FD SIZE...``.

It gives up its rights, opens the model, warms it up and answers the golden inputs as the daemon would. Nothing of the
bundle is parsed before the rights are gone. ``FD`` holds parts of these sizes: the job as JSON, the model's files, the
golden inputs. Standard output is one JSON object, :class:`Answer`; its absence means that the process was ended.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_runtime.bundles.company import count_company
from edge_runtime.system import sandbox

PROGRESS = b"."
"""Written to standard output before the answer, at every step that is done."""
MOST_CHARACTERS = 2000
"""Of a refusal: engines repeat names from the model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the opening went."""

    problem: str | None
    """Why the model is refused; None: it opened and answered."""
    is_unknown: bool = False
    """Whether nothing was found out, since the engine cannot run here at all (not installed, no such runtime)."""
    is_out_of_memory: bool = False
    landlock_abi: int = 0
    has_seccomp: bool = False


def main(arguments: Sequence[str]) -> None:
    """Open, run, and say how it went."""
    answer_fd = os.dup(sys.stdout.fileno())
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - the model's prints go there
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    handed, *sizes = map(int, arguments)
    header, *parts = _read(handed, sizes)
    job = json.loads(header)
    protection = sandbox.enter(sandbox.Limits(**job["limits"]))
    try:
        answer = _open(job, parts, lambda: os.write(answer_fd, PROGRESS))
    except MemoryError:
        answer = Answer("it needs more memory than it may have", is_out_of_memory=True)
    problem = None if answer.problem is None else answer.problem[:MOST_CHARACTERS]
    os.write(answer_fd, json.dumps({**asdict(answer), "problem": problem, **asdict(protection)}).encode())
    sys.stderr.flush()
    os._exit(0)  # the end of an engine's libraries is not of interest, and may hang


def _read(file: int, sizes: Sequence[int]) -> list[bytes]:
    with os.fdopen(file, "rb") as handed:
        return [handed.read(size) for size in sizes]


def _open(job: dict[str, Any], parts: Sequence[bytes], note_progress: Callable[[], object]) -> Answer:
    from calibration.errors import CalibrationError
    from calibration.targets.base import ModelFiles
    from edge_runtime.errors import EngineError, EngineMismatch, EngineMissing
    from edge_runtime.inference.engines.base import EngineSettings
    from edge_runtime.inference.engines.factory import open_engine
    from edge_runtime.inference.engines.parts import parts_of
    from edge_runtime.inference.engines.threads import ThreadPlan
    from edge_runtime.inference.specs import read_preprocess

    spec = read_preprocess(job["preprocess"])
    model, golden = ModelFiles(*parts[: job["model_files"]]), parts[job["model_files"] :]
    try:
        if job["format"] == "torchscript" and (refused := _find_refused(model.data)):
            return Answer(refused)
        settings = EngineSettings(runtime=job["runtime"], max_batch=job["max_batch"])
        alone = ThreadPlan(1, 1, "sandbox")
        engine = open_engine(model, job["format"], spec.tensor_shape, alone, settings, parts_of(spec))
        note_progress()
        return Answer(_run(engine, spec, golden, note_progress))
    except (EngineMissing, EngineMismatch) as err:
        return Answer(str(err), is_unknown=True)
    except (EngineError, CalibrationError) as err:
        return Answer(str(err))


def _find_refused(model: bytes) -> str | None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return None  # nothing can be opened, and the engine says what to install
    from calibration.targets.torchscript.operators import find_foreign_operators

    names = find_foreign_operators(model)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    listed = ", ".join(names[:5])
    return f"the operators {listed}{more} reach outside of the model" if names else None


def _run(engine: Any, spec: Any, golden: Sequence[bytes], note_progress: Callable[[], object]) -> str | None:
    """Answer the golden inputs, alone and some together; what they should give is compared by the self-test."""
    import numpy as np

    from edge_runtime.datatypes import Frame, Rejected
    from edge_runtime.inference.preprocess import make_preprocessor

    prepare, company = make_preprocessor(spec).prepare, list[Any]()
    for payload in golden:
        sample = prepare(Frame("golden", 0, payload, 0.0, 0.0))
        if isinstance(sample, Rejected):
            return f"golden {spec.noun} is {sample.reason}: {sample.detail}"
        engine.infer(sample.tensor[None])
        note_progress()
        if len(company) < count_company(sample.tensor.nbytes):
            company.append(sample.tensor)
    if len(company) > 1 and engine.input.shape[0] != 1:
        engine.infer(np.stack(company))
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
