"""The evaluation in one command: measure what is missing, then write tables and plots from the records.

    python -m benchmarks run accuracy [--tracks fashion_mnist,parity] [--goals] [--quick] [--fresh] [--pages-only]

Resumable: a case that is in the results folder is not run again. Cases of one seed share a process (nets, test
pictures and baselines are made once); ``--processes`` of them run at a time, each on one thread.
"""

import importlib
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from types import ModuleType

import click

from benchmarks.accuracy.poison_records import PoisonRecords
from benchmarks.accuracy.records import (
    FASHION_MNIST,
    LETTERS,
    PARITY,
    PEDESTRIANS,
    PHOTO_CUTOUTS,
    SIGNALS,
    Case,
    NotInstalled,
    Records,
    Row,
)
from benchmarks.accuracy.tables.pages import write_pages

TRACKS = (FASHION_MNIST, PHOTO_CUTOUTS, PEDESTRIANS, PARITY, SIGNALS)
"""Modules of ``tracks``, each with ``plan`` and ``measure``; imported when asked for: frameworks differ."""
CASES_A_TASK = {FASHION_MNIST: 8, PHOTO_CUTOUTS: 4, PEDESTRIANS: 3, PARITY: 12, SIGNALS: 12}
"""A few minutes: an interrupted run loses little, and a worker rarely starts over."""


def plan(tracks: Sequence[str], seeds: Sequence[int], *, quick: bool, goals: bool = False) -> list[Case]:
    """Every case of the tracks."""
    return [case for track in tracks for case in _module(track).plan(seeds, quick=quick, goals=goals)]


def tasks(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """The cases in portions of one track and seed, in the given order."""
    for (track, _), group in groupby(cases, key=lambda case: (case.track, case.seed)):
        together, most = list(group), CASES_A_TASK[track]
        for first in range(0, len(together), most):
            yield together[first : first + most]


def measure(cases: Sequence[Case], folder: Path, model: Path | None = None) -> list[Row]:
    """The rows of one task; runs in a worker process. ``model`` replaces that of the photo cut-outs.

    Raises:
        click.ClickException: its pictures are not installed. (Others would not survive the way between processes.)
    """
    replaced = {} if model is None else {"model": model}
    try:
        found = _module(cases[0].track).measure(cases, folder / "models", **replaced)
        return [row for rows in found for row in rows]
    except NotInstalled as err:
        raise click.ClickException(str(err)) from err


def run(cases: Sequence[Case], folder: Path, processes: int, model: Path | None = None) -> list[str]:
    """Measure the cases that the records do not have yet; gives what kept tracks from running."""
    records = Records(folder)
    done = records.done()
    left = [case for case in cases if case not in done]
    click.echo(f"{len(cases)} cases, {len(cases) - len(left)} of them measured before")
    began_s, finished = time.monotonic(), 0
    problems: dict[str, None] = {}
    _keep_memory()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_one_thread) as pool:
        waiting: dict[Future[list[Row]], int] = {
            pool.submit(measure, task, folder, model): len(task) for task in tasks(left)
        }
        for future in as_completed(waiting):
            try:
                records.append(future.result())
            except click.ClickException as err:
                problems[err.message] = None
                continue
            except BaseException:
                pool.shutdown(
                    wait=False, cancel_futures=True
                )  # or an hour of results would be measured for nothing
                raise
            finished += waiting[future]
            click.echo(f"{finished} of {len(left)} cases after {time.monotonic() - began_s:.0f} s")
    return list(problems)


def _one_thread() -> None:
    """As many processes as cores: more threads would only get in each other's way."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _keep_memory() -> None:
    """Glibc gives large tensors back to the kernel after every layer: torch takes twice the time on 64 pictures."""
    for name, size in (("MALLOC_MMAP_THRESHOLD_", 1 << 32), ("MALLOC_TRIM_THRESHOLD_", 1 << 33)):
        os.environ.setdefault(name, str(size))  # read by malloc when the worker processes start


def _module(track: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.tracks.{track}")


@click.command()
@click.option("--tracks", default=",".join(TRACKS), show_default=True)
@click.option(
    "--seeds",
    default="50,51,52,53,54",
    show_default=True,
    help="0 to 9 are for development, 20 to 22 were seen by a prototype.",
)
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("build/bench-calibration"), show_default=True
)
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True)
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another one for the photo cut-outs.",
)
@click.option("--processes", default=2, show_default=True)
@click.option("--date", help="To write at the top; default: today.")
@click.option("--quick", is_flag=True, help="One seed and a few cases, about three minutes.")
@click.option("--goals", is_flag=True, help="Only the cases that the table of goals asks for.")
@click.option(
    "--fresh", is_flag=True, help="Forget the records of these tracks and start over; nets are kept."
)
@click.option("--pages-only", is_flag=True, help="Measure nothing, only draw the records again.")
def main(
    tracks: str, seeds: str, results: Path, docs: Path, model: Path | None, processes: int, date: str | None,
    quick: bool, goals: bool, fresh: bool, pages_only: bool,
) -> None:  # fmt: skip
    """Measure the calibration library and write the pages about it."""
    names = [LETTERS.get(track, track) for track in tracks.split(",")]
    unknown = sorted(set(names) - set(TRACKS))
    if unknown:
        raise click.BadParameter(
            f"no track {', '.join(unknown)}; there are {', '.join(TRACKS)}", param_hint="--tracks"
        )
    try:
        chosen = [int(seed) for seed in seeds.split(",")]
    except ValueError as err:
        raise click.BadParameter(f"{seeds!r}; expected numbers like 0,1,2", param_hint="--seeds") from err
    if model is not None:
        if names != [PHOTO_CUTOUTS]:
            raise click.BadParameter(f"it is only for --tracks {PHOTO_CUTOUTS}", param_hint="--model")
        results, docs = results / model.stem, results / model.stem / "pages"
    if quick:
        results, docs, chosen = results / "quick", results / "quick" / "pages", chosen[:1]
    if fresh:
        Records(results).clear(names)
    problems = (
        [] if pages_only else run(plan(names, chosen, quick=quick, goals=goals), results, processes, model)
    )
    rows, poisoned = Records(results).load(), PoisonRecords(results).load()
    for page in write_pages(rows, docs, date or time.strftime("%Y-%m-%d"), poisoned):
        click.echo(f"written: {page}")
    if problems:
        raise click.ClickException("left out: " + " ".join(problems))
