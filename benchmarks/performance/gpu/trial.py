"""Models on a GPU, and their parity with the CPU: ``benchmarks run gpu``; ``--device cpu`` rehearses it without one.

Contenders take turns, each in its own process, until the rounds are done or the time is up: the defaults are set
for ten minutes, for such machines are rented. The runtime's own engines do the work. TorchScript is fed from pinned
memory, in float32 and by autocast; ONNX Runtime uses its CUDA provider. All answers are compared with those of the same
file in float32 on the CPU of the machine.
"""

import json
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from benchmarks.performance.gpu.child import Answers, Figures, run_contender
from benchmarks.performance.gpu.contenders import BATCHES, CONTENDERS, Contender
from benchmarks.performance.gpu.material import prepare
from benchmarks.performance.gpu.page import page
from benchmarks.performance.gpu.parity import compare
from edge_runtime.errors import ExitCode
from edge_runtime.system.cpu_budget import cpu_budget

PAGE = Path(__file__).parents[3] / "docs/results/gpu.md"
PACKAGES = ("torch", "onnxruntime-gpu", "onnxruntime", "numpy")


class NoGpu(click.ClickException):
    """There is no GPU to measure; the message says where it was looked for, and what to do."""

    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, found: str) -> None:
        super().__init__(
            f"no GPU to measure: {found}. Expected an NVIDIA GPU with its driver, and a CUDA build of torch or the "
            "package onnxruntime-gpu. Run it on such a machine, or rehearse it here with --device cpu"
        )


def find_gpu() -> str:
    """Name, driver, memory and power limit of the GPUs, in the driver's words.

    Raises:
        NoGpu: there is none, or no driver.
    """
    asked = "--query-gpu=name,driver_version,memory.total,power.limit"
    try:
        done = subprocess.run(
            ["nvidia-smi", asked, "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as err:
        raise NoGpu(f"nvidia-smi cannot be run ({err})") from err
    if done.returncode != 0 or not done.stdout.strip():
        raise NoGpu(f"nvidia-smi says: {' '.join((done.stdout + done.stderr).split()) or 'nothing'}")
    return "; ".join(done.stdout.strip().splitlines())


@dataclass(frozen=True, slots=True)
class Order:
    """What to measure."""

    work: Path
    """Folder of models, pictures and answers."""
    device: str
    """In the words of the configuration: CUDA, CPU."""
    seconds: float
    """Of calls, for each size of batch."""
    rounds: int
    most_s: float
    """No round begins that would end later; the first one always runs."""
    contenders: Sequence[Contender] = CONTENDERS
    batches: Sequence[int] = BATCHES


def measure(order: Order) -> Figures:
    """All rounds; parity is that of the first.

    Raises:
        NoGpu: no contender can use the device.
    """
    began_s = time.monotonic()
    first, answers = _run_round(order)
    if not answers:
        raise NoGpu("; ".join(dict.fromkeys(one["unavailable"] for one in first.values())))
    round_s, rounds = time.monotonic() - began_s, [first]
    cpu, parity = _refer_to_the_cpu(order, answers)
    while len(rounds) < order.rounds and time.monotonic() - began_s + round_s < order.most_s:
        rounds.append(_run_round(order)[0])
    return {"rounds": rounds, "cpu": cpu, "parity": parity}


def _run_round(order: Order) -> tuple[Figures, dict[Contender, Answers]]:
    figures, answers = Figures(), dict[Contender, Answers]()
    for one in order.contenders:
        click.echo(f"  {one.name}", err=True)
        figures[one.name], given = run_contender(order.work, one, order.device, order.batches, order.seconds)
        if given:
            answers[one] = given
    return figures, answers


def _refer_to_the_cpu(order: Order, answers: dict[Contender, Answers]) -> tuple[Figures, Figures]:
    """The files on the CPU, one picture a call: their figures, and how far the answers are from theirs."""
    plain = {one.model: one for one in order.contenders if one.precision == "f32"}
    cpu, parity = Figures(), Figures()
    for model in dict.fromkeys(one.model for one in answers):
        reference = plain[model]
        click.echo(f"  {reference.name}, on the CPU", err=True)
        cpu[reference.name], expected = run_contender(order.work, reference, "CPU", (1,), order.seconds)
        for one, given in answers.items():
            if one.model == model and expected:
                parity[one.name] = {size: compare(expected[1], found) for size, found in given.items()}
    return cpu, parity


def _facts(gpu: str) -> dict[str, str]:
    have = ", ".join(text for text in map(_version, PACKAGES) if text)
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "GPU": gpu,
        "CPU": f"{platform.machine()}, {cpu_budget().source}",
        "versions": f"Python {platform.python_version()}, {have}",
    }


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


@click.command()
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=0.5, show_default=True,
    help="Of calls, for each size of batch.",
)  # fmt: skip
@click.option(
    "--most-s", type=float, default=480.0, show_default=True, help="No round begins that would end later."
)
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("build/gpu"), show_default=True,
    help="Keeps models, pictures and figures; copy it to a machine that cannot make them.",
)  # fmt: skip
@click.option("--prepare-only", is_flag=True, help="Make models and pictures, and measure nothing.")
@click.option("--page", "page_file", type=click.Path(path_type=Path), default=PAGE, help="Of a run on a GPU.")
def main(
    device: str, rounds: int, seconds: float, most_s: float, work: Path, prepare_only: bool, page_file: Path
) -> None:
    """Measure, print the page, and with a GPU write it."""
    gpu = "none: a rehearsal on the CPU" if device == "cpu" or prepare_only else find_gpu()
    prepare(work := work.absolute())
    if prepare_only:
        return
    figures = measure(Order(work, device.upper(), seconds, rounds, most_s))
    found = {"device": device, "facts": _facts(gpu), **figures}
    (work / f"figures-{device}.json").write_text(json.dumps(found))
    text = page(found)
    click.echo(text)
    if device != "cpu":
        page_file.write_text(text, encoding="utf-8")
        click.echo(f"written: {page_file}", err=True)
