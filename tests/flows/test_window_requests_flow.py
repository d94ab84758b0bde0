"""A whole daemon answers windows of a sensor that are sent over HTTP, in the format that its bundle declares."""

import httpx
import pytest

from tests.support.http_contract import Contract
from tests.support.sensor_payloads import write_payload
from tests.support.signal_bundles import (
    CHANNELS,
    LABELS,
    build_signal_bundle,
    machine_windows,
    signal_spec,
)
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


def test_windows_are_answered_rightly_and_bad_ones_refused_with_their_reason(box, broker):
    spec = signal_spec(payload={"format": "csv", "delimiter": ";", "decimal": ",", "encoding": "gbk"})
    build_signal_bundle(box.folder / "bundles", preprocess=spec)
    windows = machine_windows(8, seed=41)
    box.write(
        models={"machine": {"bundle": str(box.folder / "bundles/machine"), "recalibrate": False}},
        sensors={"pump": {"path": "mqtt", "model": "machine", "may_idle": True}},
        mqtt={"host": broker.host, "port": broker.port},
        http={"port": box.port},
    )
    box.start()
    assert until(box.is_ready), box.log()
    root = f"http://127.0.0.1:{box.port}"
    with httpx.Client(base_url=root, trust_env=False, timeout=WAIT_S) as client:
        contract = Contract(client.get("/openapi.json").json())
        client.event_hooks = {"response": [contract.check]}
        texts = [write_payload(window, spec.payload, CHANNELS) for window in windows]
        answers = [
            client.post("/predict", content=text, headers={"content-type": "text/csv"}) for text in texts
        ]
        assert [answer.json()["top"][0]["label"] for answer in answers] == [*LABELS, *LABELS]
        wide = texts[0].decode("gbk").encode("utf-16")
        refused = [client.post("/predict", content=body) for body in (wide, texts[0][:-200], b"ax;ay\n1;2\n")]
        assert [answer.status_code for answer in refused] == [422] * 3
        reasons = [answer.json()["rejected"] for answer in refused]
    assert reasons == ["bad_encoding", "bad_shape", "missing_channel"]
    counted = box.status()["models"]["machine"]["streams"][":http"]
    assert (counted["results"], sum(counted["rejected"].values())) == (8, 3)
    box.process.terminate()
    assert box.wait() == 0
