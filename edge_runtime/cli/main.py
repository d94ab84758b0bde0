"""The command line ``edge-runtime``. Parses, calls, prints, turns errors into exit codes; nothing else lives here."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from edge_runtime import __version__
from edge_runtime.cli.baseline.commands import baseline_group
from edge_runtime.cli.bench.commands import bench_command
from edge_runtime.cli.bundle import bundle_group
from edge_runtime.cli.tune.commands import tune_command
from edge_runtime.errors import EdgeRuntimeError

# Before numpy is imported: the drift monitor's matrices are small, and BLAS threads that wait for each other on a busy
# box made opening a baseline 4 to 17 times slower (measured: 0.43 s with one thread, 1.9 to 7.4 s with two).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

USAGE, INTERRUPTED = 64, 130
REFUSED = 65  # EX_DATAERR: the device answered, and its answer is no
DEMO_CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"


class OutputFile(click.Path):
    """A file to be written: its folder must be there and writable *before* minutes of work go into its content."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: it cannot be written.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"{path}: its folder is missing or cannot be written", param, ctx)
        return path


VERBS = {
    "status": "everything the device knows about itself",
    "commission": "bless what the cameras show now as healthy",
    "recalibrate": "try to correct the model for what the cameras show now",
    "rollback": "back to the generation before",
    "baselines": "list the baselines of a model",
    "bless": "say anew that the site is as healthy as a baseline",
    "expire": "make no more patches from a baseline",
    "remove": "forget a baseline for good",
}
seconds = click.FloatRange(min=0, min_open=True)
existing_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-runtime")
def cli() -> None:
    """Inference daemon for edge devices; recalibrates the deployed model on the device."""
    from edge_runtime.system.log import configure_log

    # Standard output is for answers. ``run`` and ``demo`` configure the log again from the configuration.
    configure_log("warning", "console")


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--for", "for_s", type=seconds, help="Stop by itself after so many seconds, with a summary.")
def run(config: Path, for_s: float | None) -> int:
    """Run the daemon with the configuration file CONFIG."""
    from edge_runtime.cli.run_summary import summarise
    from edge_runtime.daemon.wiring.daemon import build_daemon, stop_on_signals

    daemon = build_daemon(_configured(config), config)
    stop_on_signals(daemon)
    code = daemon.run(for_s)
    if for_s is not None:
        print(summarise(daemon.reporter.status().as_dict(), daemon.reporter.history(), []))
    return code


@cli.command()
@click.option(
    "--config", type=click.Path(path_type=Path), default=DEMO_CONFIG, help="Another demo configuration."
)
@click.option(
    "--for", "for_s", type=seconds, help="Stop by itself after so many seconds; the drift comes half-way."
)
@click.option(
    "--drift",
    default="haze",
    show_default=True,
    help="What happens to the lens: haze, noise, blur, dark, ...; 'none' for nothing, a wrong name lists all.",
)
@click.option(
    "--scene", type=click.Choice(["varied", "one-class"]), default="varied", help="What passes the lens."
)
def demo(config: Path, for_s: float | None, drift: str, scene: str) -> int:
    """Play photographs through a real int8 model, let the camera drift, and watch the daemon recalibrate itself."""
    from edge_runtime.cli.demo.run import run_demo
    from edge_runtime.sources.demo.camera_drift import DRIFTS

    if drift not in DRIFTS and drift != "none":
        raise click.BadParameter(
            f"{drift!r}; expected none or one of: {', '.join(DRIFTS)}", param_hint="--drift"
        )
    chosen = None if drift == "none" else drift
    return run_demo(
        _configured(config), config, for_s, chosen, only="orange" if scene == "one-class" else None
    )


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check(config: Path, as_json: bool) -> int:
    """Check the configuration file CONFIG and the bundles it names, without running anything.

    All problems are listed, and what has no effect or is not there yet as notes. The exit code is that of the gravest.
    """
    from edge_runtime.cli.check import check_config

    found = check_config(config, os.environ)
    if as_json:
        _show({"config": str(config), **found.as_json()}, as_json, "")
        return found.exit_code
    notes = [f"note: {note}" for note in found.notes]
    if found.problems:
        heading = f"error: {config}: {len(found.problems)} problem(s)"
        print("\n".join([heading, *(f"  {problem}" for problem in found.problems), *notes]), file=sys.stderr)
    else:
        models = [
            f"  {name}: {model['bundle']} on {model['runs_on']}" for name, model in found.models.items()
        ]
        print("\n".join([f"{config}: ok", *models, *notes]))
    return found.exit_code


@cli.command()
@click.argument("bundle", type=existing_folder)
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture.")
def infer(bundle: Path, pictures: tuple[Path, ...], as_json: bool) -> int:
    """Run PICTURES through BUNDLE and print the answers; exit code 65 when a picture was rejected."""
    from edge_runtime.cli.offline import answers

    rejected = 0
    for answer in answers(bundle, pictures):
        rejected += "rejected" in answer
        _show(answer, as_json, _answer_line(answer))
    return 65 if rejected else 0


@cli.command()
@click.option("--out", type=OutputFile(), help="Write to this file instead of standard output.")
def schema(out: Path | None) -> int:
    """Print the JSON Schema of the configuration, for editors."""
    from edge_runtime.config.json_schema import schema_text

    if out is None:
        print(schema_text(), end="")
    else:
        out.write_text(schema_text(), encoding="utf-8")
    return 0


@cli.command(
    help="Send a command to a running device over its broker and print the answer.\n\nVERB is one of:\n\n\b\n"
    + "\n".join(f"  {verb:<12} {meaning}" for verb, meaning in VERBS.items())
)
@click.argument("verb", metavar="VERB", type=click.Choice(list(VERBS)))
@click.option(
    "--config", "config_path", required=True, type=click.Path(path_type=Path), help="The device's YAML file."
)
@click.option("--model", help="Which model; needed when there are several.")
@click.option("--stream", help="commission, recalibrate: only this camera's frames.")
@click.option("--frames", type=click.IntRange(8, 4096), help="commission: how many frames from now on.")
@click.option("--name", help="commission, bless, expire, remove: which baseline, e.g. night.")
@click.option("--expires-days", type=seconds, help="commission, bless: how many days that holds.")
@click.option("--timeout", "timeout_s", type=seconds, default=10.0, show_default=True, help="Seconds.")
def send(verb: str, config_path: Path, timeout_s: float, **given: Any) -> int:
    """Send a command and print the answer; the help text above lists the verbs."""
    from edge_runtime.cli.send import send_command
    from edge_runtime.config import load_address

    arguments = {name: value for name, value in given.items() if value is not None}
    answer = send_command(load_address(config_path, os.environ), verb, arguments, timeout_s)
    print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    return 0 if answer.get("status") == "ok" else REFUSED


@cli.command()
@click.argument("bundle", type=existing_folder)
@click.option("--healthy", type=existing_folder, help="Pictures of the healthy site; makes the baseline.")
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Baseline file: written with --healthy, else read."
)
@click.option(
    "--reference", type=existing_folder, help="Pictures of now; sub-folders named like labels are labels."
)
@click.option("--out", type=OutputFile(), help="Patch file to write when the gate accepts.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def calibrate(
    bundle: Path,
    healthy: Path | None,
    baseline: Path | None,
    reference: Path | None,
    out: Path | None,
    seed: int,
    as_json: bool,
) -> int:
    """Commission and recalibrate BUNDLE from folders of pictures, without a daemon."""
    from edge_runtime.cli.offline import calibrate_bundle

    if healthy is not None and baseline is not None:
        OutputFile().convert(baseline, None, None)
    report = calibrate_bundle(bundle, healthy, baseline, reference, out, seed)
    _show(report, as_json, "\n".join(report["lines"]))
    return 0


cli.add_command(bundle_group)
cli.add_command(baseline_group)
cli.add_command(tune_command)
cli.add_command(bench_command)


def _configured(path: Path) -> Any:
    """The checked configuration, with the log set up as it says."""
    from edge_runtime.config import load_config, secrets_of
    from edge_runtime.system.log import configure_log

    config = load_config(path, os.environ)
    configure_log(config.log.level, config.log.format, secrets=secrets_of(config, os.environ))
    return config


def _show(values: dict[str, Any], as_json: bool, text: str) -> None:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    print(orjson.dumps(values, default=str, option=options).decode() if as_json else text)


def _answer_line(answer: dict[str, Any]) -> str:
    if "rejected" in answer:
        return f"{answer['picture']}: rejected, {answer['rejected']}: {answer['detail']}"
    if "top" in answer:
        return f"{answer['picture']}: " + ", ".join(
            f"{top['label']} {top['score']:.3f}" for top in answer["top"]
        )
    if "detections" in answer:
        found = "; ".join(map(_detection_line, answer["detections"])) or "no detections"
        return f"{answer['picture']}: {found}"
    return (
        f"{answer['picture']}: "
        + orjson.dumps(
            {key: value for key, value in answer.items() if key != "picture"},
            option=orjson.OPT_SERIALIZE_NUMPY,
        ).decode()
    )


def _detection_line(found: dict[str, Any]) -> str:
    left, top, right, bottom = (round(edge) for edge in found["box"])
    return f"{found['label']} {found['score']:.2f} at {left},{top}, {right - left} x {bottom - top} pixels"


def main(arguments: list[str] | None = None, command: click.Command = cli) -> None:
    """Entry point: run, and leave with the exit code (sysexits(3))."""
    from calibration.errors import CalibrationError

    try:
        name = "edge-runtime" if command is cli else None
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.Abort:
        code = INTERRUPTED
    except click.ClickException as err:
        err.show()
        code = USAGE
    except (EdgeRuntimeError, CalibrationError) as err:
        print(f"error: {err}", file=sys.stderr)
        code = err.exit_code
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
