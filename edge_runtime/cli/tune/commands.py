"""``edge-runtime tune``: measure how a model runs best on this box, and write it into the configuration."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.cli.options import JSON, MODEL, OPTIONAL_BUNDLE, PATH, print_indented, require_config
from edge_runtime.cli.progress import Progress

if TYPE_CHECKING:
    from edge_runtime.cli.tune.engine_choices import TuneTask
    from edge_runtime.cli.tune.session import Goal


@click.command("tune")
@OPTIONAL_BUNDLE
@click.option("--config", "config_path", type=PATH, is_eager=True, help="Compare with what this file says.")
@MODEL
@click.option(
    "--streams", type=click.IntRange(1, 64), help="Streams it serves; without: its cameras in the file, or 1."
)
@click.option(
    "--for", "goal", type=click.Choice(["latency", "throughput"]), default="latency", show_default=True,
    help="What counts: time to an answer when all streams have a new picture, or frames a second.",
)  # fmt: skip
@click.option(
    "--time-limit", "time_limit_s", type=click.FloatRange(5, 3600), default=60.0, show_default=True,
    help="Seconds.",
)  # fmt: skip
@JSON
@click.option("--write", is_flag=True, help="Put the best into the file of --config; its comments stay.")
def tune_command(
    bundle: Path | None,
    config_path: Path | None,
    model: str | None,
    streams: int | None,
    goal: "Goal",
    time_limit_s: float,
    as_json: bool,
    write: bool,
) -> int:
    """Measure which runtime and threads suit this box.

    For BUNDLE, or the model of --config.

    Every candidate must give the golden outputs. The setting in use is kept unless another is clearly better.
    Stop the daemon before: other load on the box is measured as well. While that of --config runs, tune refuses.
    """
    from edge_runtime.bundles.sandbox_check import check_in_sandbox
    from edge_runtime.cli.tune import report
    from edge_runtime.cli.tune.session import tune
    from edge_runtime.config.edit import edit_model

    require_config(bundle, config_path, write=write, model=model)
    task = _make_task(bundle, config_path, model, streams)
    check_in_sandbox(task.bundle)
    with Progress() as progress:
        progress.begin("measuring")
        tuned = tune(
            task.bundle,
            task.compared,
            task.streams,
            goal,
            time_limit_s,
            tell=lambda what: progress.set(0, f"{what}, {time_limit_s:g} s at most"),
        )
    edits = report.list_edits(tuned.chosen, task.compared[0])
    if write and edits:
        assert config_path is not None
        assert task.model is not None
        edit_model(config_path, os.environ, task.model, edits)
    if as_json:
        print_indented({**report.describe_as_json(task, goal, tuned), "is_written": bool(write and edits)})
        return 0
    lines = report.describe_as_lines(task, goal, tuned)
    if write:
        lines.append(f"written to {config_path}" if edits else f"{config_path} is left as it is")
    click.echo("\n".join(lines))
    return 0


def _make_task(
    bundle: Path | None, config_path: Path | None, model: str | None, streams: int | None
) -> "TuneTask":
    from edge_runtime.cli.tune.engine_choices import make_bundle_task, make_config_task
    from edge_runtime.config import load_config
    from edge_runtime.errors import StateError
    from edge_runtime.system.cpu_budget import cpu_budget
    from edge_runtime.system.state_lock import find_holder

    if config_path is None:
        assert bundle is not None
        return make_bundle_task(bundle, streams, cpu_budget())
    config = load_config(config_path, os.environ)
    if find_holder(config.state_dir) is not None:
        raise StateError(
            f"the daemon of {config_path} runs (it holds {config.state_dir}), and what it does would be "
            "measured as well; stop it before"
        )
    return make_config_task(config, config_path, model, bundle, streams, cpu_budget())
