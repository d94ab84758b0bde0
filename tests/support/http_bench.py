"""The HTTP server before a pipeline of real parts around a scripted engine."""

import itertools
import threading
from types import SimpleNamespace

from edge_runtime.daemon.health import Health
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.http.api import build_app
from edge_runtime.http.commands import CommandService
from edge_runtime.http.openapi import describe
from edge_runtime.http.pictures import PictureService
from edge_runtime.http.server import HttpServer
from edge_runtime.inference.engines.base import TensorSpec
from edge_runtime.inference.specs import ClassificationSpec
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.serving.access import Access
from edge_runtime.serving.predict_service import PredictService
from edge_runtime.serving.predictions import Predictions, ServedModel
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_bench import make_pipeline
from tests.support.signal_bundles import signal_spec
from tests.support.still_camera import StillCamera

MOST_BYTES = 256 * 1024
DOCUMENT = describe(DaemonStatus, Health)
NO_TRENDS = {"first": 1, "steps": 0, "step_s": 5.0, "offset_s": 0.0, "now_s": 0.0, "figures": [], "marks": []}


def make_signal_parts(**spec):
    """Arguments of ``Bench`` for a model of windows (3, 256): its scores are the means of the prepared channels."""
    preprocess = signal_spec(**spec)
    engine = FakeEngine(input=TensorSpec("input", "float", (None, *preprocess.tensor_shape)))
    postprocess = ClassificationSpec(scores="logits", top_k=3)
    return {"engine": engine, "manifest": SimpleNamespace(preprocess=preprocess, postprocess=postprocess)}


class Bench:
    """One model, ``parts``; its engine waits while ``gate`` is not set."""

    def __init__(
        self, folder, *, access=None, queue=8, timeout_s=60.0, models=("parts",), camera=None,
        certificate=None, port=None, listed=(), fetch_from=(), engine=None, **policy,
    ):  # fmt: skip
        self.feed = Delivery("belt-3", lambda result: None)
        self.listed, self.camera = list(listed), camera or StillCamera()
        self.engine = engine or FakeEngine()
        self.engine.gate = threading.Event()
        self.engine.gate.set()
        self.pipeline, self.results, _ = make_pipeline(self.engine, request_limit=queue, **policy)
        bundle = SimpleNamespace(manifest=SimpleNamespace(version=4, format="onnx"), labels=("a", "b", "c"))
        self.models = dict.fromkeys(models, ServedModel(self.pipeline, bundle))
        self.crashes, self.is_stopping, self.recent_results = Crashes(), False, []
        self.predictions = Predictions(
            lambda: self.models, lambda: self.is_stopping, lambda: SequenceNumbers(folder / "seq"),
            timeout_s, self.crashes,
        )  # fmt: skip
        self._ended = threading.Event()
        self._worker = threading.Thread(target=self._infer)
        self._worker.start()
        self._port, self._ids = port, map(str, itertools.count(1))
        self.app = None  # made in the thread of the server
        self.predict = PredictService.make(
            self.predictions, access or Access(), MOST_BYTES, queue, self.crashes, fetch_from=fetch_from
        )
        self.server = HttpServer("127.0.0.1", 0, self._make_app, Crashes(), certificate)
        self.server.start()
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.port}"

    def close(self):
        self.engine.gate.set()
        self.server.stop()
        self.predictions.stop()
        self._ended.set()
        self._worker.join()

    def _infer(self):
        while not self._ended.is_set():
            self.pipeline.step(timeout_s=0.02)

    def _make_app(self):
        self.app = build_app(
            dict, lambda: Health(live=True, ready=True), lambda most: self.listed[:most],
            lambda _: [], dict, dict,
            lambda: DOCUMENT, list, self.predict.access, self.crashes,
            log=lambda most: [{"level": "info", "text": "ready"}][:most],
            trends=lambda span_s, after: {**NO_TRENDS, "first": after + 1},
            predict=self.predict, pictures=PictureService(self.camera, self.crashes), feed=self.feed,
            commands=CommandService(self._port, lambda: self.is_stopping, lambda: next(self._ids), self.crashes),
        )  # fmt: skip
        return self.app
