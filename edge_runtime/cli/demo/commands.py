"""``edge-runtime demo``: options and their check."""

from pathlib import Path

import click

from edge_runtime.cli.options import PATH, SECONDS
from edge_runtime.cli.run import load_and_log
from edge_runtime.sources.demo import DATA

DEMO_CONFIG = DATA / "demo.yaml"


@click.command()
@click.option("--config", type=PATH, default=DEMO_CONFIG, help="Another demo configuration.")
@click.option(
    "--for", "for_s", type=SECONDS, help="Stop by itself after so many seconds; the drift comes half-way."
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
@click.option("--json", "as_json", is_flag=True, help="The summary at the end as one JSON object.")
def demo(config: Path, for_s: float | None, drift: str, scene: str, *, as_json: bool) -> int:
    """Watch a drifting camera, and a model that recovers.

    Plays photographs through a real int8 model, lets the camera drift, and the daemon recalibrates.
    """
    from edge_runtime.cli.demo.run import run_demo
    from edge_runtime.sources.demo.camera_drift import DRIFTS

    if drift not in DRIFTS and drift != "none":
        expected = f"none or one of: {', '.join(DRIFTS)}"
        raise click.BadParameter(f"{drift!r}; expected {expected}", param_hint="--drift")
    chosen, only = None if drift == "none" else drift, "orange" if scene == "one-class" else None
    return run_demo(load_and_log(config), config, for_s, chosen, only=only, as_json=as_json)
