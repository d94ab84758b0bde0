"""``edge-runtime tune``: measure how a model runs best on this box, and write it into the configuration."""

import os
from pathlib import Path
from typing import Any

import click
import orjson


@click.command("tune")
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Compare with what this file says."
)
@click.option("--model", help="Which model of the file; needed when there are several.")
@click.option(
    "--streams", type=click.IntRange(1, 64), help="Streams it serves; without: its cameras in the file, or 1."
)
@click.option(
    "--for",
    "goal",
    type=click.Choice(["latency", "throughput"]),
    default="latency",
    show_default=True,
    help="What counts: time to an answer when all streams have a new picture, or frames a second.",
)
@click.option(
    "--time-limit",
    "time_limit_s",
    type=click.FloatRange(5, 3600),
    default=60.0,
    show_default=True,
    help="Seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--write", is_flag=True, help="Put the best into the file of --config; its comments stay.")
def tune_command(
    bundle: Path | None,
    config_path: Path | None,
    model: str | None,
    streams: int | None,
    goal: Any,
    time_limit_s: float,
    as_json: bool,
    write: bool,
) -> int:
    """Measure how BUNDLE (or the model of --config) runs best on this box: runtimes and threads.

    Every candidate must give the golden outputs. The setting in use is kept unless another is clearly better.
    Stop the daemon before: other load on the box is measured as well. While that of --config runs, tune refuses.
    """
    from edge_runtime.bundles.sandbox_check import check_in_sandbox
    from edge_runtime.cli.tune import report
    from edge_runtime.cli.tune.session import tune

    _check_options(bundle, config_path, model, write=write)
    task = _make_task(bundle, config_path, model, streams)
    click.echo(f"measuring {len(task.compared)} candidates, about {time_limit_s:g} s at most", err=True)
    check_in_sandbox(task.bundle)
    tuned = tune(task.bundle, task.compared, task.streams, goal, time_limit_s)
    edits = report.list_edits(tuned.chosen, task.compared[0])
    if write and edits:
        _write(config_path, task.model, edits)
    if as_json:
        found = {**report.describe_as_json(task, goal, tuned), "is_written": bool(write and edits)}
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return 0
    lines = report.describe_as_lines(task, goal, tuned)
    if write:
        lines.append(f"written to {config_path}" if edits else f"{config_path} is left as it is")
    click.echo("\n".join(lines))
    return 0


def _check_options(bundle: Path | None, config: Path | None, model: str | None, *, write: bool) -> None:
    if bundle is None and config is None:
        raise click.UsageError("give a BUNDLE, or --config FILE for the model of a configuration")
    if config is None and (write or model is not None):
        raise click.UsageError("--write and --model need --config FILE")


def _make_task(bundle: Path | None, config_path: Path | None, model: str | None, streams: int | None) -> Any:
    from edge_runtime.cli.tune.task import make_bundle_task, make_config_task
    from edge_runtime.config import load_config
    from edge_runtime.errors import StateError
    from edge_runtime.system.cpu_budget import cpu_budget
    from edge_runtime.system.state_lock import is_in_use

    if config_path is None:
        assert bundle is not None
        return make_bundle_task(bundle, streams, cpu_budget())
    config = load_config(config_path, os.environ)
    if is_in_use(config.state_dir):
        raise StateError(
            f"the daemon of {config_path} runs (it holds {config.state_dir}/lock), and what it does would be "
            "measured as well; stop it before"
        )
    return make_config_task(config, config_path, model, bundle, streams, cpu_budget())


def _write(config_path: Path | None, model: str | None, edits: dict[str, Any]) -> None:
    from edge_runtime.config.edit import edit_model

    assert config_path is not None
    assert model is not None
    edit_model(config_path, os.environ, model, edits)
