"""``python -m calibration``: profile, recalibrate, apply, drift, inspect; on files, without any runtime.

Exit codes of sysexits(3): 0 also for a refusal by the gate, 64 wrong usage, 65 bad input, 74 a file that cannot be
written. With ``--json`` stdout holds exactly one JSON object, an error too. Only argument handling here.
"""

import errno
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

import calibration
from calibration import reference, report, tensor_file
from calibration.baseline import Baseline
from calibration.errors import CalibrationError, DataError
from calibration.patch import Patch
from calibration.trial import Options

P = ParamSpec("P")

EX_USAGE, EX_CANNOT_WRITE = 64, 74

MODEL = click.argument("model", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
THREADS = click.option(
    "--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="CPU threads."
)


def _file(flag: str, text: str) -> Callable[..., Any]:
    return click.option(flag, type=click.Path(path_type=Path, dir_okay=False), required=True, help=text)


def _told(command: Callable[P, None]) -> Callable[P, None]:
    """Turn this library's errors into a message, an exit code and, with ``--json``, an object."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _require_place(kwargs.get("out"))
            command(*args, **kwargs)
        except CalibrationError as err:
            _fail(str(err), type(err).__name__, err.exit_code, bool(kwargs.get("as_json")))
        except OSError as err:
            text = f"{err.filename}: cannot be written ({err.strerror}). Check the directory and its space."
            _fail(text, "CannotWrite", EX_CANNOT_WRITE, bool(kwargs.get("as_json")))

    return run


def _require_place(out: object) -> None:
    """Find out that the answer cannot be written before minutes of work go into it."""
    if isinstance(out, Path) and not os.access(out.parent, os.W_OK | os.X_OK):
        code = errno.EACCES if out.parent.is_dir() else errno.ENOENT
        raise OSError(code, os.strerror(code), str(out))


def _fail(text: str, kind: str, code: int, as_json: bool) -> None:
    click.echo(f"error: {text}", err=True)
    if as_json:
        click.echo(json.dumps({"error": {"type": kind, "message": text}}))
    sys.exit(code)


def _answer(data: dict[str, Any], lines: list[str], as_json: bool) -> None:
    click.echo(json.dumps(data, indent=2) if as_json else "\n".join(lines))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Recalibrate BatchNorm statistics inside a finished model file.

    Array files are npz with x, prepared exactly as for the model: float32 (N, C, H, W); and optionally y, int64 (N,).
    """


@cli.command()
@MODEL
@_file("--data", "npz of healthy samples (x).")
@_file("--out", "Baseline file to write (safetensors).")
@click.option(
    "--witness",
    type=click.IntRange(0, 512),
    default=48,
    show_default=True,
    help="Healthy samples to keep in the file, to judge patches on later. 0 keeps no picture.",
)
@THREADS
@JSON
@_told
def profile(model: Path, data: Path, out: Path, witness: int, threads: int, as_json: bool) -> None:
    """Record the baseline of a healthy site."""
    healthy = reference.load_npz(data)
    baseline = calibration.profile(model, healthy.x, witness=witness, threads=threads)
    baseline.save(out)
    kept = 0 if baseline.witness is None else len(baseline.witness)
    facts = {
        "baseline": str(out),
        "id": baseline.id,
        "frames": baseline.count,
        "taps": len(baseline.moments),
        "channels": sum(tap.channels for tap in baseline.moments.values()),
        "witness": kept,
        "size_bytes": out.stat().st_size,
        "model_sha256": baseline.model_sha256,
    }
    text = (
        f"{out}: {baseline.count} frames, {len(baseline.moments)} taps with the input, {kept} witness frames."
    )
    _answer(facts, [text], as_json)


@cli.command()
@MODEL
@_file("--baseline", "Baseline of this model.")
@_file("--reference", "npz of what the camera sees now (x).")
@_file(
    "--out", "Patch file to write; removed if the answer is no, so that no old one looks like this answer."
)
@click.option("--labels", is_flag=True, help="Let the classes y in the reference decide.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split and the re-enactment.")
@THREADS
@JSON
@_told
def recalibrate(
    model: Path,
    baseline: Path,
    reference: Path,
    out: Path,
    labels: bool,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Find out whether a patch makes the model better on the reference, and write it if so."""
    verdict = _recalibrated(model, baseline, reference, labels, Options(seed=seed, threads=threads))
    if verdict.patch is None:
        out.unlink(missing_ok=True)
    else:
        verdict.patch.save(out)
    lines = [
        f"{'accepted' if verdict.accepted else 'refused'}: {verdict.candidate}",
        *verdict.reasons,
        *verdict.notes,
    ]
    _answer({**verdict.to_json(), "out": str(out) if verdict.accepted else None}, lines, as_json)


def _recalibrated(model: Path, baseline: Path, data: Path, labels: bool, options: Options) -> report.Verdict:
    healthy, given = Baseline.load(baseline), reference.load_npz(data)
    if labels and given.y is None:
        raise DataError(
            str(data), "no array named y", "y, int64 (N,), with --labels", "Add it or drop --labels."
        )
    return calibration.recalibrate(model, healthy, given.x, given.y if labels else None, options)


@cli.command()
@MODEL
@_file("--patch", "Patch made for this model.")
@_file("--out", "Patched model to write.")
@JSON
@_told
def apply(model: Path, patch: Path, out: Path, as_json: bool) -> None:
    """Write a copy of the model with the patch in it."""
    given = Patch.load(patch)
    patched = calibration.open_target(model).patched(given)
    tensor_file.write_atomically(out, patched.data)
    facts = {
        "out": str(out),
        "patch": report.describe(given),
        "channels_left_alone": dict(patched.left_alone),
    }
    _answer(facts, [f"{out}: {given.candidate}, {given.channels} channels."], as_json)


@cli.command()
@MODEL
@_file("--baseline", "Baseline of this model.")
@_file("--reference", "npz of what the camera sees now (x).")
@THREADS
@JSON
@_told
def drift(model: Path, baseline: Path, reference: Path, threads: int, as_json: bool) -> None:
    """Show how far the reference is from the baseline, at the input and every tap."""
    answer = _drifted(model, baseline, reference, threads)
    lines = [f"{value:12.4f}  {tap}" for tap, value in answer["taps"].items()]
    _answer(answer, [f"shallow {answer['shallow']:.4f}, deep {answer['deep']:.4f}", *lines], as_json)


def _drifted(model: Path, baseline: Path, data: Path, threads: int) -> dict[str, Any]:
    healthy, given = Baseline.load(baseline), reference.load_npz(data)
    taps = calibration.measure_drift(model, healthy, given.x, threads=threads)
    return {**report.drift_summary(taps), "frames": len(given.x), "baseline_id": healthy.id}


@cli.command()
@MODEL
@JSON
@_told
def inspect(model: Path, as_json: bool) -> None:
    """Show what can be recalibrated in a model, and why other layers cannot."""
    facts = calibration.open_target(model).inspect()
    lines = [f"{len(facts['taps'])} taps, {facts['channels']} channels, input {facts['input']['shape']}"]
    lines += [f"  {tap['channels']:6d}  {tap['kind']:24s} {tap['name']}" for tap in facts["taps"]]
    lines += [f"  skipped {layer['name']}: {layer['reason']}" for layer in facts["skipped"]]
    _answer(facts, lines, as_json)


def main() -> None:
    """Run the command line; wrong usage exits 64 (EX_USAGE)."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as err:
        err.show()
        sys.exit(EX_USAGE)


if __name__ == "__main__":
    main()
