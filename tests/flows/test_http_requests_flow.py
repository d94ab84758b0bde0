"""A whole daemon answers what is sent over HTTP and gRPC, while its camera goes on."""

import json
import subprocess
import sys

import httpx
import pytest

from tests.support.bundle_models import png
from tests.support.http_contract import Contract
from tests.support.mosquitto import free_port
from tests.support.paths import ROOT
from tests.support.programs import find_program
from tests.support.small_site import frames_of, small_bundle, small_camera
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

TOKEN = "sMh0m7jC3yZ1VqK8xQ2t"


def test_pictures_are_answered_to_who_sends_them_and_to_nobody_else(box):
    grpc_port = free_port()
    (box.folder / "scanner.token").write_text(TOKEN)
    (box.folder / "bundle").mkdir()
    bundle = small_bundle(box.folder / "bundle")
    box.write(
        models={"parts": {"bundle": str(bundle.path), "audit": {"share": 1}}},
        cameras=small_camera(box.folder / "pictures"),
        http={"port": box.port, "grpc_port": grpc_port, "tokens": {"scanner": {"file": "scanner.token"}}},
    )
    box.show(TOKEN)
    box.start()
    assert until(box.is_ready), box.log()
    picture = box.folder / "one.png"
    picture.write_bytes(png(frames_of(1, 300)[0]))
    address = f"http://127.0.0.1:{box.port}/predict"
    command = [
        find_program("curl"),
        "-s",
        "-H",
        f"Authorization: Bearer {TOKEN}",
        "--data-binary",
        f"@{picture}",
    ]
    shown = subprocess.run([*command, address], capture_output=True, check=True, timeout=WAIT_S).stdout
    assert b'"top":[{"index":' in shown
    with httpx.Client(trust_env=False, timeout=WAIT_S) as client:
        pages = (
            "status",
            "healthz",
            "readyz",
            "results",
            "events",
            "reports",
            "metrics",
            "v2",
            "v2/models/parts",
        )
        right = {"Authorization": f"Bearer {TOKEN}"}
        root = f"http://127.0.0.1:{box.port}"
        contract = Contract(client.get(f"{root}/openapi.json", headers=right).json())
        client.event_hooks = {"response": [contract.check]}
        assert {client.get(f"{root}/{page}", headers=right).status_code for page in pages} == {200}
        assert client.post(address, content=picture.read_bytes()).status_code == 401
        ids = {
            client.post(address, content=picture.read_bytes(), headers=right).json()["id"] for _ in range(20)
        }
    assert len(ids) == 20
    label = json.loads(shown)["top"][0]["label"]
    for transport, port, refused, answers in (
        ("http", box.port, "401", 4),
        ("grpc", grpc_port, "StatusCode.UNAUTHENTICATED", 2),
    ):
        told = _call_with_triton(transport, f"127.0.0.1:{port}", picture)
        assert (told.pop("classes")[0].rpartition(":")[2], told.pop("are_alike")) == (label, True)
        assert told == {"ready": [True] * 3, "shapes": [[2, 10]] * answers, "refused": refused}
    counted = box.status()["models"]["parts"]["streams"]
    assert counted[":http"]["results"] == 21 + 9 + 5
    frames = counted["belt"]["frames"]
    assert until(lambda: box.status()["models"]["parts"]["streams"]["belt"]["results"] > frames)
    box.process.terminate()
    assert box.wait() == 0
    assert {one["stream"] for one in box.results()} == {"belt"}
    kept = [path for path in box.state.rglob("*") if path.is_file() and b":http" in path.read_bytes()]
    assert kept == []
    assert TOKEN not in box.log()


def _call_with_triton(transport, address, picture):
    program = [sys.executable, ROOT / "tests/support/triton_calls.py", transport, address, TOKEN, picture]
    ran = subprocess.run(program, capture_output=True, timeout=WAIT_S)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout)
