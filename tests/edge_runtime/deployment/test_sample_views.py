"""A sample is shown as a picture or as a chart, by what its model takes."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from edge_runtime.config import AuditConfig
from edge_runtime.datatypes import Generation, Label, Sample
from edge_runtime.deployment.audit import Audit
from edge_runtime.deployment.disagreements import Disagreements
from edge_runtime.deployment.sample_views import PictureView, WindowView, make_view
from edge_runtime.inference.postprocess.postprocessor import Answer
from edge_runtime.inference.specs import PictureSpec
from edge_runtime.system.supervised_thread import Crashes
from tests.support.signal_bundles import machine_windows, signal_spec

VIEW = make_view(signal_spec())


def sample(seq: int = 7) -> Sample:
    values = machine_windows(1, seed=seq)[0].T.astype(np.float32)
    return Sample("pump", seq, values, values, None, 0.0, 0.0, 0.0, 0.0, 0.0, filled=0.0)


def top(label: str) -> Answer:
    return Answer(top=(Label(0, label, 0.93),))


@pytest.mark.parametrize("layout", ["nct", "ntc"])
def test_windows_are_charts_with_the_names_and_units_of_their_channels(layout: str):
    view = make_view(signal_spec(layout=layout))
    assert isinstance(view, WindowView)
    assert (view.axes.names, view.axes.units, view.axes.rate_hz) == (("ax", "ay", "az"), ("g",) * 3, 100.0)


def test_pictures_stay_pictures():
    spec = PictureSpec(
        colour="rgb", width=8, height=6, geometry="stretch", filter="area", mean=(0,) * 3, std=(1,) * 3
    )
    view = make_view(spec)
    assert isinstance(view, PictureView)
    shown = view.show(np.zeros((6, 8, 3), np.uint8), 160)
    assert shown.size == (8, 6)
    assert shown.uri.startswith("data:image/png")


def test_a_disagreement_about_a_window_has_its_chart():
    shots = Disagreements(VIEW)
    shots.set_pictures(are_kept=True)
    shots.add(sample(), top("worn"), top("idle"), 0.0)
    [shot] = shots.worst()
    assert shot.picture is not None
    assert shot.picture.startswith("data:image/svg+xml;base64,")
    assert min(shot.size) > 100


def test_an_audit_keeps_the_chart_of_a_sure_answer(tmp_path):
    audit = Audit(
        "machine", AuditConfig(share=1.0, keep=2), tmp_path, Crashes(), view=VIEW, keeps_pictures=True
    )
    for seq in range(3):
        audit.keep(Generation("machine/1"), sample(seq), top("worn"))
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == [
        "a2.json", "a2.svg", "a3.json", "a3.svg",
    ]  # fmt: skip
    ET.fromstring((tmp_path / "audit" / "a3.svg").read_bytes())
