"""Poisoned reference sets: what a recalibration does when its reference is broken, foreign, or partly so.

    python -m benchmarks run poison [--track fashion_mnist] [--seed 0] [--only mixed] [--results FOLDER] [--json]

Every poison spoils 64 reference pictures of a track, of a healthy camera or of a hazy one. An error and a refusal are
fine answers; so is a patch that does no harm. Where a part of the frames is spoilt, it is scored on unspoilt test
pictures of that camera. Where all are, nothing tells the poison from a drift; then what counts is the score on test
pictures spoilt alike, and the unspoilt score tells what a reference that lies would cost until the base comes back.
Exits 1 when a patch cost more than a point.

With ``--results`` every row is kept there; it is not measured again, and the pages of ``run accuracy`` count it.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import click
import cv2
import numpy as np
import orjson

import calibration
from benchmarks.accuracy.comparison import Site
from benchmarks.accuracy.drifts.by_name import CAMERA, HEALTHY, SEVEREST, drifted
from benchmarks.accuracy.drifts.poisons import PARTLY, WHOLE, Floats, Pixels, Poison, Rng
from benchmarks.accuracy.poison_records import PoisonRecords, PoisonRow
from benchmarks.accuracy.records import FASHION_MNIST, LETTERS, PHOTO_CUTOUTS, NotInstalled
from benchmarks.accuracy.tracks import fashion_mnist, photo_cutouts

TRACKS = (FASHION_MNIST, PHOTO_CUTOUTS)
COUNT = 64
BASELINE = 128
SHARES = (0.1, 0.3, 0.5)
CAMERAS = (HEALTHY, f"{CAMERA}haze")


class PoisonedSite:
    """One track with the pictures of one seed."""

    def __init__(self, site: Site, track: str, seed: int) -> None:
        self._site, self._track, self._seed = site, track, seed
        self._target = calibration.open_target(site.model)
        self._baseline = calibration.profile(site.model, site.prepare(site.baseline[:BASELINE]))
        self._before: dict[str, float] = {}

    def rows(self, only: str, done: Collection[tuple[str, str]] = ()) -> Iterator[PoisonRow]:
        """All cases whose name contains ``only``, but for those (poison, camera) that are ``done``."""
        for camera in CAMERAS:
            for name, poison in WHOLE.items():
                if only in name and (name, camera) not in done:
                    yield self._whole(name, poison, camera)
            for name, poison in PARTLY.items():
                for share in SHARES:
                    title = f"mixed: {share:.0%} {name}"
                    if only in title and (title, camera) not in done:
                        yield self._mixed(title, poison, share, camera)

    def _whole(self, name: str, poison: Poison, camera: str) -> PoisonRow:
        rng = self._rng(name)
        pixels = self._seen(camera, self._site.pool[:COUNT], rng)
        return self._row(name, camera, poison(pixels, self._site.prepare, rng), poison)

    def _mixed(self, name: str, poison: Poison, share: float, camera: str) -> PoisonRow:
        rng = self._rng(name)
        pixels = self._seen(camera, self._site.pool[:COUNT], rng)
        x = self._site.prepare(pixels)
        bad = rng.permutation(len(x))[: round(share * len(x))]
        x[bad] = poison(pixels[bad], self._site.prepare, rng)
        return self._row(name, camera, x, None)

    def _row(self, name: str, camera: str, x: Floats, poison: Poison | None) -> PoisonRow:
        before, began_s = self._accuracy_before(camera), time.monotonic()
        options = calibration.Options(seed=self._seed)
        try:
            verdict = calibration.recalibrate(self._site.model, self._baseline, x, options=options)
        except calibration.DataError as err:
            return self._new_row(name, camera, "error", str(err), before)
        row = self._new_row(name, camera, "refused", " ".join(verdict.reasons), before)
        row = replace(row, seconds=time.monotonic() - began_s)
        if verdict.patch is None:
            return row
        pixels = self._test(camera)
        score, plain, patched = self._site.score, self._target.runner(), self._target.runner(verdict.patch)
        row = replace(row, answer=verdict.candidate, after=score(patched, self._site.prepare(pixels)))
        if poison is None:
            return row
        spoilt = poison(pixels, self._site.prepare, self._rng("spoilt"))
        return replace(row, spoilt_before=score(plain, spoilt), spoilt_after=score(patched, spoilt))

    def _new_row(self, name: str, camera: str, answer: str, reason: str, before: float) -> PoisonRow:
        return PoisonRow(self._track, self._seed, name, camera, answer, reason, before, before)

    def _rng(self, name: str) -> Rng:
        return np.random.default_rng([self._seed, *name.encode()])

    def _seen(self, camera: str, pixels: Pixels, rng: Rng) -> Pixels:
        return drifted(pixels, camera, SEVEREST, rng)

    def _test(self, camera: str) -> Pixels:
        return self._seen(camera, self._site.test, self._rng("test"))

    def _accuracy_before(self, camera: str) -> float:
        if camera not in self._before:
            x = self._site.prepare(self._test(camera))
            self._before[camera] = self._site.score(self._target.runner(), x)
        return self._before[camera]


def show(row: PoisonRow) -> None:
    """A line of the table for people."""
    spoilt = (
        ""
        if row.spoilt_after is None
        else f"; spoilt alike {row.spoilt_before:.3f} -> {row.spoilt_after:.3f}"
    )
    figures = f"{row.before:.3f} -> {row.after:.3f}{spoilt}"
    click.echo(f"{row.poison:<30} {row.camera:<12} {row.answer:<28} {figures} ({row.seconds:.0f} s)")


def site_of(track: str, seed: int, folder: Path) -> Site:
    """The model and the pictures of a track."""
    return photo_cutouts.site(seed) if track == PHOTO_CUTOUTS else fashion_mnist.site(seed, folder)


@click.command()
@click.option("--track", type=click.Choice((*TRACKS, "a", "b")), default=FASHION_MNIST, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--only", default="", help="Only the poisons whose names contain this.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("build/bench/models"), help="Of trained nets."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    help="Keep the rows here; those that are there are not run again.",
)
@click.option("--json", "as_json", is_flag=True)
def main(track: str, seed: int, only: str, folder: Path, results: Path | None, as_json: bool) -> None:
    """Measure what becomes of poisoned reference sets."""
    cv2.setNumThreads(1)
    track = LETTERS.get(track, track)
    records = None if results is None else PoisonRecords(results)
    known = [] if records is None else [r for r in records.load() if (r.track, r.seed) == (track, seed)]
    rows = [row for row in known if only in row.poison]
    try:
        site = PoisonedSite(site_of(track, seed, folder), track, seed)
        for row in site.rows(only, {(row.poison, row.camera) for row in rows}):
            rows.append(row)
            if records is not None:
                records.append(row)
            if not as_json:
                show(row)
    except NotInstalled as err:
        raise click.ClickException(str(err)) from err
    harmed = [row for row in rows if row.is_harmful]
    if as_json:
        click.echo(orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
    else:
        accepted = sum(row.is_accepted for row in rows)
        lies = sum(row.is_costly_lie for row in rows)
        click.echo(
            f"{len(rows)} poisons: {accepted} patches accepted, {len(harmed)} of them harmful; {lies} fit a lie"
        )
    raise SystemExit(1 if harmed else 0)
