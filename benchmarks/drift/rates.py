"""How surely does the drift monitor find a drift within 64 sampled frames, and how often is it wrong?

    python -m benchmarks run drift-rates MODEL.onnx [--scenes cutouts,fashion,street] [--seeds 0,1]
        [--baseline-frames 64] [--json]

Features of every picture are measured once; streams are then drawn from them and given to the library's own
``DriftMonitor``, frame by frame. Per drift and severity: the accuracy it costs and the share of streams in which it is
found, with all products or few of them. Healthy: the share of streams of 64 frames that alarm, and the alarms in long
streams. The cut-outs' products are such as the baseline has never seen; *fresh* streams show each of them in 12 more
pictures, the others in 3. Ramp: the severity rises from 0 to 1 over 2,000 frames. MODEL is
EfficientNet-Lite0 as in the demo.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson

from benchmarks.accuracy.datasets.street_video import VIDEO
from benchmarks.drift.scenes import Scene, cutout_scene, fashion_scene, street_scene
from benchmarks.drift.site import Alarms, Found, Ramp, Site
from edge_runtime.sources.demo import camera_drift

SEVERITIES = (0.3, 0.6, 1.0)
FEW_PRODUCTS = (1, 2, 3, 4, 8)
DRIFTED_PRODUCTS = (None, 4, 1)
"""How many products the streams show under a drift."""
LONG_STREAMS, LONG_FRAMES = 10, 10_000
COSTLY = 0.05
"""Accuracy lost from which on a drift must be found."""


def scenes(
    wanted: Sequence[str],
    model: Path,
    fashion_nets: Path,
    video: Path,
    seed: int,
    baseline_frames: int | None,
) -> Iterator[Scene]:
    """The chosen ones; the video is always the same."""
    if "cutouts" in wanted:
        yield cutout_scene(model, seed, baseline_frames)
    if "fashion" in wanted:
        yield fashion_scene(fashion_nets, seed, baseline_frames)
    if "street" in wanted:
        yield street_scene(model, video)


def healthy(site: Site, streams: int) -> Iterator[Alarms]:
    """All products, few of them, and long streams."""
    yield site.healthy_streams(None, streams)
    if site.scene.content is not None:
        kinds = len(set(site.scene.content.tolist()))
        for products in (few for few in FEW_PRODUCTS if few < kinds):
            yield site.healthy_streams(products, streams)
            if site.scene.fresh is not None:
                yield site.healthy_streams(products, streams, is_fresh=True)
        yield site.healthy_streams(None, LONG_STREAMS, LONG_FRAMES)


def show_alarms(alarms: Alarms) -> None:
    """One line about healthy streams."""
    products = _products(alarms.products) + (", fresh" if alarms.is_fresh else "")
    share = (
        f"{alarms.alarms / alarms.streams:.2%} alarm" if alarms.frames <= 64 else f"{alarms.alarms} alarms"
    )
    click.echo(
        f"  healthy, {products:<17} {alarms.streams:>5} streams of {alarms.frames:>5}: {share}, "
        f"content {alarms.content / alarms.streams:.1%}"
    )


def _products(count: int | None) -> str:
    return "all products" if count is None else f"{count} products"


def show_found(found: Found) -> None:
    """One line about a drift."""
    cost = "" if found.cost is None else f"costs {found.cost:+.3f} "
    missed = "  <- missed" if found.cost is not None and found.cost >= COSTLY and found.found < 0.99 else ""
    what = f"{found.drift:<9} {found.severity:.1f} {_products(found.products):<12} {cost}"
    click.echo(f"  {what}found {found.found:4.0%} score {found.score:8.2f} {found.sign}{missed}")


def show_ramp(ramp: Ramp) -> None:
    """One line about a drift that grows."""
    when = "never found" if ramp.severity is None else f"found at severity {ramp.severity:.3f}"
    cost = "" if ramp.cost is None else f", where it costs {ramp.cost:+.3f}"
    click.echo(f"  ramp {ramp.drift:<9} {when}{cost}")


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--scenes", "wanted", default="cutouts,fashion,street", show_default=True)
@click.option("--seeds", default="0", show_default=True)
@click.option("--drifts", default=",".join(camera_drift.DRIFTS), show_default=True)
@click.option(
    "--ramps", default="blur,exposure,haze,tint,vignette", show_default=True, help="Drifts to let grow."
)
@click.option(
    "--streams", default=500, show_default=True, help="Healthy streams per kind; a fifth per drift."
)
@click.option(
    "--baseline-frames",
    type=click.IntRange(min=8),
    help="Frames of the baseline; default: 123 of the cut-outs, 512 clothes, half of the street.",
)
@click.option(
    "--fashion-nets",
    default=Path("build/fashion"),
    type=click.Path(path_type=Path),
    help="Where trained nets are kept.",
)
@click.option("--video", default=VIDEO, type=click.Path(path_type=Path), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    model: Path,
    wanted: str,
    seeds: str,
    drifts: str,
    ramps: str,
    streams: int,
    baseline_frames: int | None,
    fashion_nets: Path,
    video: Path,
    as_json: bool,
) -> None:
    """Measure the drift monitor with MODEL and the scenes' own."""
    rows: list[Alarms | Found | Ramp] = []
    for seed in map(int, seeds.split(",")):
        for scene in scenes(wanted.split(","), model, fashion_nets, video, seed, baseline_frames):
            site = Site(scene, seed, max(1, streams // 5))
            times = site.cost_ms()
            if not as_json:
                click.echo(
                    f"{scene.name}, seed {seed}; " + ", ".join(f"{k} {v:.2f}" for k, v in times.items())
                )
            for row in _rows(site, streams, drifts.split(","), [r for r in ramps.split(",") if r]):
                rows.append(row)
                if not as_json:
                    _show(row)
    if as_json:
        click.echo(orjson.dumps([{"kind": type(row).__name__.lower(), **asdict(row)} for row in rows]))


def _rows(
    site: Site, streams: int, drifts: Sequence[str], ramps: Sequence[str]
) -> Iterator[Alarms | Found | Ramp]:
    yield from healthy(site, streams)
    few = DRIFTED_PRODUCTS if site.scene.content is not None else (None,)
    for drift in drifts:
        for severity in SEVERITIES:
            yield from site.drift(drift, severity, few)
    for drift in ramps:
        yield site.ramp(drift)


def _show(row: Alarms | Found | Ramp) -> None:
    match row:
        case Alarms():
            show_alarms(row)
        case Found():
            show_found(row)
        case Ramp():
            show_ramp(row)
