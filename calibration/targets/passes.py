"""Checks before a pass through a model, the cut into batches, and the moments over all of them.

No framework is imported here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, TapMismatch
from calibration.stats.moments import (
    INPUT_TAP,
    FrameMoments,
    Moments,
    TapMoments,
    join,
    merge_taps,
    moments_of_frames,
)
from calibration.targets.base import Batch, Normalisation, Observation, TapInfo

Rows = Mapping[str, FrameMoments]
"""The result of one pass: per tap the moments of every entry of its first axis (R, C). That axis mostly holds frames,
and then R = N. In a transformer it may hold tokens, or frames and tokens together in either order."""

Pass = Callable[[Batch], Rows]
"""Runs one batch."""

Measure = Callable[[Normalisation | None], Pass]
"""Passes through a graph that measures its taps; all normalisations by one baseline use the same graph."""

Answers = Callable[[Batch], Mapping[str, NDArray[Any]]]
"""Runs one batch; gives the outputs by name, the first axis of each is the batch."""

MICRO_BATCH = 8
"""Least number of frames that are corrected together. Measured on Lite0, all taps, haze: agreement .41 with 2, .52 with
4, .63 with 8, .67 with 16 and with all 48 at once; carrying moments over from batch to batch did not help."""

MICRO_BATCH_VALUES = MICRO_BATCH * 3 * 224 * 224
"""Values of the input that are corrected together when more frames fit: 8 frames of Lite0 take 150 MB. A small net has
few positions in its deep layers, and with few frames at a time its moments would be noise."""

PLAIN_BATCH = 4
"""Frames per pass when nothing is corrected: moments are taken frame by frame, so the cut does not matter."""

RUN_BATCH = 8


def choose_micro_batch(x: Batch) -> int:
    """How many frames of ``x`` (N, C, ...) to correct together: more of small samples, in about the same memory."""
    return max(MICRO_BATCH, MICRO_BATCH_VALUES // max(1, int(x[0].size)))


def cut_batches(x: Batch, size: int) -> Iterator[Batch]:
    """Batches of ``size``; the last one may be smaller."""
    for start in range(0, len(x), size):
        yield np.ascontiguousarray(x[start : start + size])


def cut_evenly(x: Batch, size: int) -> Iterator[Batch]:
    """Batches of about ``size``, none much smaller: each is corrected by its own moments."""
    for part in np.array_split(x, max(1, round(len(x) / size))):
        yield np.ascontiguousarray(part)


def cut_and_fill(x: Batch, size: int) -> Iterator[Batch]:
    """Batches of exactly ``size``; the last one is filled up with its last frame."""
    for batch in cut_batches(x, size):
        missing = size - len(batch)
        yield np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def run_all(answers: Answers, x: Batch, size: int, *, is_fixed: bool) -> dict[str, NDArray[Any]]:
    """The outputs for all of ``x`` by name, those that every batch gives with one row for each of its frames.

    ``is_fixed`` fills the last batch up.
    """
    parts = list[Mapping[str, NDArray[Any]]]()
    for batch in (cut_and_fill if is_fixed else cut_batches)(x, size):
        found = answers(batch)
        parts.append({name: y for name, y in found.items() if y.shape[:1] == (len(batch),)})
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts])[: len(x)] for name in names}


def read_rows(
    taps: Iterable[TapInfo],
    fetched: Sequence[NDArray[np.float32]],
    baseline: Moments | None,
    unit_of: Callable[[TapMoments], NDArray[np.float64]],
    *,
    are_squares: bool = False,
) -> Rows:
    """The moments in what an observer gave: two arrays per tap, means and variances.

    With a baseline they are in units of ``unit_of(healthy)`` around the healthy mean; ``are_squares``: the second ones
    are mean squares then.
    """
    found: dict[str, FrameMoments] = {}
    for tap, *pair in zip(taps, fetched[::2], fetched[1::2], strict=True):
        mean, var = (part.astype(np.float64).reshape(-1, tap.channels) for part in pair)
        if baseline is not None:
            healthy = baseline[tap.name]
            unit = unit_of(healthy)
            if are_squares:
                var = np.maximum(var - mean * mean, 0.0)
            mean, var = mean * unit + healthy.mean, var * unit * unit
        found[tap.name] = FrameMoments(mean, var)
    return found


def observe_in_batches(
    run: Pass, x: Batch, normalise: Normalisation | None, size: int, frames_of_first: int
) -> Observation:
    """The moments at ``input`` and the taps that ``run`` gives, over ``x`` in batches of about ``size``."""
    frames = {INPUT_TAP: observe_input(x, normalise)}
    if normalise is None:
        frames |= observe_single_frames(run, x, size)
        moments = {tap: part.pool() for tap, part in frames.items()}
    else:
        moments = {INPUT_TAP: frames[INPUT_TAP].pool(), **_batch_by_batch(run, x, size)}
        frames = {}
    return Observation(Moments(moments), dict(list(frames.items())[:frames_of_first]))


def observe_single_frames(run: Pass, x: Batch, size: int) -> dict[str, FrameMoments]:
    """Moments of the N single frames at every tap, (N, C) each, whatever the order of a tap's rows.

    Where one frame gives one row, and N frames N, rows are frames. Else the model is run frame by frame, and all rows
    of a pass belong to one frame.
    """
    cut = [x[:1], *(cut_evenly(x[1:], size) if len(x) > 1 else ())]
    seen: list[Rows] = []
    for batch in cut:
        rows = run(batch)
        if any(len(part.mean) != len(batch) for part in rows.values()):
            alone = map(run, cut_batches(x, 1))
            seen = [{tap: _one_frame(tap, part) for tap, part in rows.items()} for rows in alone]
            break
        seen.append(rows)
    return {tap: join([rows[tap] for rows in seen]) for tap in seen[0]}


def _one_frame(tap: str, rows: FrameMoments) -> FrameMoments:
    """Rows of the same number of positions each as one frame, by the law of total variance."""
    if not len(rows.mean):
        fix = "Recalibrate the part of the model that sees whole samples."
        raise DataError(f"tap {tap}", "no value at all for one of the frames", "values of every frame", fix)
    whole = rows.pool()
    return FrameMoments(whole.mean[np.newaxis], whole.var[np.newaxis])


def _batch_by_batch(run: Pass, x: Batch, size: int) -> dict[str, TapMoments]:
    """Moments over all frames. All rows of a batch weigh the same, because all frames have as many."""
    found: dict[str, TapMoments] = {}
    for batch in cut_evenly(x, size):
        for tap, part in run(batch).items():
            pooled = part.pool()
            whole = TapMoments(pooled.mean, pooled.var, float(len(batch)))
            found[tap] = merge_taps(found[tap], whole) if tap in found else whole
    return found


def observe_input(x: Batch, normalise: Normalisation | None) -> FrameMoments:
    """Single-frame moments of the input, as it is behind the input correction of ``normalise``."""
    frames = moments_of_frames(x)
    if normalise is None or normalise.input is None:
        return frames
    scale, offset = (part.astype(np.float64) for part in (normalise.input.scale, normalise.input.offset))
    return FrameMoments(frames.mean * scale + offset, frames.var * scale * scale)


def require_baseline_of(taps: Sequence[TapInfo], baseline: Moments) -> None:
    """Raise TapMismatch unless the baseline knows every one of ``taps``; it may know more."""
    known = {name: tap.channels for name, tap in baseline.items()}
    wrong = [
        f"{tap.name} has {tap.channels} channels, {known.get(tap.name, 'none')} in the baseline"
        for tap in taps
        if known.get(tap.name) != tap.channels
    ]
    if wrong:
        raise TapMismatch(wrong)
