"""A pipeline of real parts around a scripted engine."""

import threading
import time

import numpy as np

from edge_runtime.datatypes import Frame, Generation
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.scheduler import BatchPolicy, BatchScheduler
from edge_runtime.inference.specs import ClassificationSpec, PictureSpec
from tests.support.fake_engine import FakeEngine

SPEC = PictureSpec(
    colour="rgb", width=8, height=8, geometry="stretch", filter="area", mean=(0, 0, 0), std=(255, 255, 255)
)


class Manifest:
    """What a postprocessor reads of a manifest."""

    preprocess = SPEC
    postprocess = ClassificationSpec(scores="logits", top_k=1)


def make_frame(seq, stream="belt", picture=None, age_s=0.0):
    rng = np.random.default_rng(seq)
    picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) if picture is None else picture
    return Frame(stream, seq, picture, time.monotonic() - age_s, time.time())


def make_pipeline(
    engine=None,
    *,
    results=None,
    rejections=None,
    observer=None,
    workers=1,
    slot=None,
    manifest=Manifest,
    **policy,
):
    results = [] if results is None else results
    errors = []
    usual = {"max_batch_size": 4, "max_queue_delay_s": 0.0, "max_age_s": 1.0, "queue_limit": 4}
    pipeline = Pipeline(
        device="box",
        model="parts",
        preprocessor=make_preprocessor(manifest.preprocess),
        scheduler=BatchScheduler(BatchPolicy(**{**usual, **policy}), workers),
        slot=slot or EngineSlot(Generation("parts/1"), engine or FakeEngine()),
        postprocessor=Postprocessor(manifest, ("a", "b", "c")),
        deliver=results.append,
        reject=lambda model, rejected: (rejections if rejections is not None else []).append(rejected),
        observer=observer,
        on_engine_error=errors.append,
        clock=time.monotonic,
    )
    return pipeline, results, errors


NEVER = threading.Event()
