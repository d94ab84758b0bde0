"""Baselines of several boxes with the same model and preprocessing as one, as if recorded together.

Moments add up exactly (count, mean, variance in float64; Chan et al. 1979), so a fleet shares what its boxes saw
without sending a picture. The parts are taken in the order of their ids: the result does not depend on the order in
which they are given, to the last bit. No model is run.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from math import prod
from typing import TypeVar

import numpy as np

from calibration.baseline.baseline import Baseline, HealthySamples
from calibration.baseline.metadata import BaselineFacts
from calibration.baseline.packing import pack_healthy_samples
from calibration.errors import BaselineError
from calibration.outputs.read import join_answers
from calibration.stats.moments import FrameMoments, join, merge
from calibration.stats.sampling import samples_to_keep, spread_over

T = TypeVar("T")

MOST_FRAMES = 4096
"""Single-frame moments kept for the drift monitor: about 5 MB at EfficientNet-Lite0."""


def pool(
    parts: Sequence[Baseline],
    *,
    name: str = "pooled",
    healthy_samples: int | None = None,
    frames: int = MOST_FRAMES,
    now_wall_s: float | None = None,
    witness: int | None = None,
) -> Baseline:
    """One baseline of several.

    Args:
        parts: At least two recordings of the same model, input and preprocessing.
        name: What to call the result.
        healthy_samples: How many to keep of those the parts have, evenly spread; 0 keeps no picture, None as many as
            ``profile`` does.
        frames: Single-frame moments to keep, evenly spread.
        now_wall_s: Unix time of the pooling; None is now.
        witness: The old name of ``healthy_samples``.

    Returns:
        Moments of all frames together; counts and effective counts add up. It is as old as its oldest part and
        expires with the first that does.

    Raises:
        BaselineError: fewer than two, one given twice, or another model, input or preprocessing.
        TapMismatch: other taps or channels.
    """
    if witness is not None:
        warnings.warn("pool(witness=) is now healthy_samples=", DeprecationWarning, stacklevel=2)
        healthy_samples = witness
    _require_alike(parts)
    most = samples_to_keep(prod(parts[0].input_shape)) if healthy_samples is None else healthy_samples
    ordered = sorted(parts, key=lambda part: part.id)
    return replace(
        ordered[0],
        moments=reduce(merge, (part.moments for part in ordered)),
        frames=_frames(ordered, frames),
        count=sum(part.count for part in ordered),
        effective_count=float(sum(part.effective_count for part in ordered)),
        created_wall_s=min(part.created_wall_s for part in ordered),
        output=next((part.output for part in ordered if part.output is not None), None),
        healthy_samples=_healthy_samples(ordered, most),
        facts=_facts(ordered, name, time.time() if now_wall_s is None else now_wall_s),
    )


def _require_alike(parts: Sequence[Baseline]) -> None:
    if len(parts) < 2:
        raise BaselineError("merge", f"{len(parts)} baseline(s)", "at least two")
    facts: dict[str, Callable[[Baseline], object]] = {
        "the model": lambda part: part.model_sha256,
        "the input": lambda part: part.input_shape,
        "the output with the answers": lambda part: part.output,
        "the preprocessing": lambda part: part.facts.preprocessing,
    }
    for what, fact in facts.items():
        found = sorted({str(fact(part)) for part in parts if fact(part) is not None})
        if len(found) > 1:
            fix = "Pool only baselines of boxes that run the same bundle."
            raise BaselineError("merge", f"{what} differs: {' and '.join(found)}", "one and the same", fix)
    ids = [part.id for part in parts]
    twice = sorted({known for known in ids if ids.count(known) > 1})
    if twice:
        fix = "Give every recording once; twice it would count for more than it is."
        raise BaselineError("merge", f"the same recording twice ({', '.join(twice)})", "different ones", fix)


def _frames(parts: Sequence[Baseline], most: int) -> dict[str, FrameMoments]:
    """Single-frame moments of the taps that every part has, one part after the other."""
    pooled = {}
    for tap in (tap for tap in parts[0].frames if all(tap in part.frames for part in parts)):
        whole = join([part.frames[tap] for part in parts])
        kept = spread_over(len(whole.mean), most)
        pooled[tap] = FrameMoments(whole.mean[kept], whole.var[kept])
    return pooled


def _healthy_samples(parts: Sequence[Baseline], most: int) -> HealthySamples | None:
    """Evenly spread over all the parts have; those without answers have no part in it when others have some."""
    known = [part.healthy_samples for part in parts if part.healthy_samples is not None]
    used = [samples for samples in known if samples.answers is not None] or known
    kept = spread_over(sum(map(len, used)), most)
    if not len(kept):
        return None
    ends = np.cumsum([len(samples) for samples in used])
    shares = np.split(kept, np.searchsorted(kept, ends[:-1]))
    picked = [w.only(share - end + len(w)) for w, share, end in zip(used, shares, ends, strict=True)]
    pooled = pack_healthy_samples(np.concatenate([samples.samples() for samples in picked]))
    picked = [samples for samples in picked if len(samples)]
    answers = [samples.answers for samples in picked if samples.answers is not None]
    # One model has one layout, unless a box was commissioned on other values; then there is no telling which is right.
    # Older files of classifiers have none.
    layouts = {samples.layout for samples in picked if samples.layout is not None}
    kinds = {type(part) for part in answers}
    if len(layouts) > 1 or len(kinds) != 1 or len(answers) < len(picked):
        return pooled
    return pooled.with_answers(join_answers(answers), next(iter(layouts), None))


def _facts(parts: Sequence[Baseline], name: str, now_wall_s: float) -> BaselineFacts:
    ends = [part.facts.expires_wall_s for part in parts if part.facts.expires_wall_s is not None]
    return BaselineFacts(
        name=name,
        preprocessing=_shared(part.facts.preprocessing for part in parts),
        bundle=_shared(part.facts.bundle for part in parts),
        streams=tuple(sorted({stream for part in parts for stream in part.facts.streams})),
        sample_period_s=_shared(part.facts.sample_period_s for part in parts),
        blessed_by=f"pooled from {len(parts)} baselines",
        blessed_wall_s=now_wall_s,
        expires_wall_s=min(ends, default=None),
    )


def _shared(values: Iterable[T]) -> T | None:
    """The value all have; None when they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
