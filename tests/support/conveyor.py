"""Pictures of the demo's conveyor, as the reservoir of a daemon keeps them."""

import cv2
import numpy as np

from edge_runtime.config import DemoConfig
from edge_runtime.sources.demo.demo_camera import DemoCamera
from tests.support.paths import DEMO


def conveyor_frames(count, first, drift=None):
    """(N,224,224,3) RGB as the reservoir keeps them; roughly, since only their statistics count here."""
    source = DemoCamera("belt", DEMO / "pictures", DemoConfig(drift=drift, drift_at_s=0.0), fps=10.0)
    frames = [source.frame(i)[:, 40:280, ::-1] for i in range(first, first + count)]
    return np.stack([cv2.resize(f, (224, 224), interpolation=cv2.INTER_AREA) for f in frames])
