"""From the bytes of a JPEG to the answer as JSON: all that the servers of models serve.

``PEER_PICTURES=ours`` is the daemon's picture code and engine, so that peers and daemon differ in nothing but the rest;
``opencv`` and ``pillow`` are picture code and a session as users write them after the documentation.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import orjson

Answer = Callable[[bytes], bytes]
PORT, WORKERS = int(os.environ.get("PEER_PORT", "0")), int(os.environ.get("PEER_WORKERS", "1"))
BUNDLE, INTRA = Path(os.environ.get("PEER_BUNDLE", "")), int(os.environ.get("PEER_INTRA", "1"))
PICTURES = os.environ.get("PEER_PICTURES", "ours")
"""Settings of a server: each has a different command line, and children inherit the environment."""


def open_answer(callers: int = 1) -> Answer:
    """A function that answers one picture a call; ``callers`` is how many threads call it at once.

    Raises:
        BundleError, EngineError: the bundle cannot be used.
    """
    return _open_ours(callers) if PICTURES == "ours" else _open_documented()


def _open_documented() -> Answer:
    from benchmarks.performance.peers.classifier import open_classifier
    from benchmarks.performance.peers.pictures import READERS

    read_picture, classify = READERS[PICTURES], open_classifier(BUNDLE, INTRA)
    return lambda picture: json.dumps({"top": classify(read_picture(picture))}).encode()


def _open_ours(callers: int) -> Answer:
    from edge_runtime.bundles.engine import open_bundle_engine
    from edge_runtime.bundles.verify import load_bundle
    from edge_runtime.datatypes import Frame, Rejected
    from edge_runtime.inference.engines.threads import ThreadPlan
    from edge_runtime.inference.postprocess.postprocessor import Postprocessor
    from edge_runtime.inference.preprocess import make_preprocessor

    bundle = load_bundle(BUNDLE)
    engine = open_bundle_engine(bundle, ThreadPlan(INTRA, callers, "bench"))
    preprocessor = make_preprocessor(bundle.manifest.preprocess)
    postprocessor = Postprocessor(bundle.manifest, bundle.labels)

    def answer(picture: bytes) -> bytes:
        sample = preprocessor.prepare(Frame("peer", 0, picture, 0.0, 0.0))
        if isinstance(sample, Rejected):
            return orjson.dumps({"error": sample.detail})
        outputs = engine.infer(sample.tensor[None])
        found = postprocessor.read(sample, {name: array[0] for name, array in outputs.items()})
        if isinstance(found, Rejected) or found.top is None:
            return orjson.dumps({"error": "no answer"})
        return orjson.dumps({"top": [{"label": one.label, "score": one.score} for one in found.top]})

    return answer
