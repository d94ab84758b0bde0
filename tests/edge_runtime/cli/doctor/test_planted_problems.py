"""Problems that installers have, planted for real, and found by their ids: one box that has ten of them, and more."""

import datetime
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import cache

import orjson
import pytest
import trustme

from edge_runtime.cli.doctor import service
from edge_runtime.cli.doctor.broker import examine_broker
from edge_runtime.cli.doctor.finding import Level
from edge_runtime.cli.doctor.service import ask_systemd, examine_service, find_unit_user
from edge_runtime.config import load_address, load_config
from tests.support.mosquitto import Mosquitto, TlsFiles, free_port
from tests.support.paths import DEMO, ROOT
from tests.support.planted_libraries import NEW, plant_built_for_a_newer_system, plant_missing
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"
DAY_S = 86_400


def run_doctor(config, *arguments, **variables):
    """Exit code, and the levels of the findings by id."""
    command = [sys.executable, "-m", "edge_runtime", "doctor", str(config), "--json", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=WAIT_S
    )
    answer = orjson.loads(ended.stdout)
    assert answer["exit_code"] == ended.returncode
    levels = {}
    for one in answer["findings"]:
        levels.setdefault(one["id"], set()).add(one["level"])
        assert one["level"] != "problem" or one["advice"]
    return ended.returncode, levels, answer["findings"]


def write_config(folder, **keys):
    path = folder / "box.yaml"
    defaults = {
        "device": "box",
        "state_dir": str(folder / "state"),
        "models": {"parts": {"bundle": "demo:efficientnet-lite0"}},
        "cameras": {"belt": {"path": "demo:conveyor", "model": "parts"}},
        "http": {"port": free_port()},
    }
    path.write_bytes(orjson.dumps(defaults | keys))
    return path


@pytest.fixture
def full_state(tmp_path):
    """A state directory on a disk that has no room; a real disk where the test may mount one."""
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(state)]
    is_mounted = (
        os.geteuid() == 0 and subprocess.run(mount, capture_output=True, timeout=WAIT_S).returncode == 0
    )
    yield state, is_mounted
    if is_mounted:
        subprocess.run(["umount", str(state)], check=True, timeout=WAIT_S)


def test_a_box_with_ten_problems(tmp_path, full_state):
    state, has_small_disk = full_state
    active = state / "models" / "parts" / "active.json"
    active.parent.mkdir(parents=True)
    active.write_text('{"bundle": "efficientnet-lite0/7", "patch": "p3", "previous": null}')
    os.utime(active, times=(time.time() + DAY_S, time.time() + DAY_S))
    broken = tmp_path / "broken" / "efficientnet-lite0" / "1"
    shutil.copytree(BUNDLE, broken)
    with (broken / "model.onnx").open("r+b") as model:
        model.seek(100_000)
        model.write(b"damage")
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    plant_missing(libraries, "openvino")
    plant_built_for_a_newer_system(libraries, "onnxruntime")
    pictures = tmp_path / "pictures"
    pictures.mkdir(mode=0o000)
    passwords = {"box": "right"}
    with (
        Mosquitto(tmp_path / "broker", passwords=passwords) as broker,
        socket.create_server(("127.0.0.1", 0)) as other_program,
    ):
        config = write_config(
            tmp_path,
            models={
                "parts": {"bundle": "demo:efficientnet-lite0"},
                "damaged": {"bundle": str(broken.parent)},
                "elsewhere": {"bundle": "demo:efficientnet-lite0", "engine": {"runtime": "openvino"}},
            },
            cameras={"belt": {"path": str(pictures), "model": "parts"}},
            mqtt={"host": broker.host, "port": broker.port, "user": "box", "password": "{EDGE_WRONG}"},
            http={"port": other_program.getsockname()[1]},
        )
        code, levels, findings = run_doctor(
            config, "--user", "nobody", PYTHONPATH=f"{ROOT}:{libraries}", EDGE_WRONG="not-it"
        )
    assert "not-it" not in str(findings)
    assert code == 65
    assert levels["camera.rights"] == {"problem"}
    assert levels["broker.password"] == {"problem"}
    assert levels["clock.wrong"] == {"problem"}
    assert levels["engine.broken"] == {"problem"}
    assert "engine.missing" in levels
    assert [one["level"] for one in findings if one["id"] == "engine.missing"].count("problem") >= 2
    assert levels["bundle.broken"] == {"problem"}
    assert levels["port.taken"] == {"problem"}
    assert levels["patch.stale"] == {"note"}
    assert levels["state.owner"] == {"problem"}
    assert ("state.full" in levels) == has_small_disk
    said = " ".join(one["found"] for one in findings if one["id"] == "engine.broken")
    assert NEW.decode() in said


def test_a_certificate_that_has_expired(tmp_path):
    authority = trustme.CA()
    ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    server = authority.issue_cert("127.0.0.1", not_before=ended - datetime.timedelta(days=9), not_after=ended)
    ca, cert, key = (tmp_path / f"{name}.pem" for name in ("ca", "cert", "key"))
    authority.cert_pem.write_to_path(str(ca))
    server.cert_chain_pems[0].write_to_path(str(cert))
    server.private_key_pem.write_to_path(str(key))
    files = TlsFiles(ca, cert, key, cert, key)
    with Mosquitto(tmp_path / "broker", tls=files) as broker:
        config = write_config(
            tmp_path, mqtt={"host": broker.host, "port": broker.port, "tls": {"ca": str(ca)}}
        )
        address = load_address(config, {})
        found = list(examine_broker(address.device, address.mqtt))
    assert [(one.id, one.level, one.exit_code) for one in found] == [
        ("broker.certificate", Level.PROBLEM, 69)
    ]


def test_rules_of_the_broker_that_keep_a_box_out(tmp_path):
    (tmp_path / "acl").write_text("user box\ntopic read edge/box/#\n")
    extra = f"acl_file {tmp_path / 'acl'}"
    with Mosquitto(tmp_path / "broker", passwords={"box": "it"}, extra=extra) as broker:
        mqtt = {"host": broker.host, "port": broker.port, "user": "box", "password": "{EDGE_P}"}
        address = load_address(write_config(tmp_path, mqtt=mqtt), {"EDGE_P": "it"})
        found = list(examine_broker(address.device, address.mqtt))
        assert "as edge-runtime-doctor-" in broker.log  # not as the daemon, whose connection would end
    assert [(one.id, one.level) for one in found] == [
        ("broker", Level.OK),
        ("broker.rights", Level.PROBLEM),
    ]


def test_a_broker_that_is_not_there(tmp_path):
    address = load_address(write_config(tmp_path, mqtt={"host": "127.0.0.1", "port": free_port()}), {})
    found = list(examine_broker(address.device, address.mqtt))
    assert [(one.id, one.level) for one in found] == [("broker.unreachable", Level.PROBLEM)]


def test_a_healthy_box_has_no_problem(tmp_path):
    code, levels, _ = run_doctor(write_config(tmp_path))
    assert code == 0
    assert {name for name, found in levels.items() if "problem" in found} == set()
    assert levels["bundle"] == levels["engine"] == levels["port"] == levels["camera"] == {"ok"}


def test_a_file_with_mistakes(tmp_path):
    code, levels, _ = run_doctor(write_config(tmp_path, cameras={"belt": {"path": "demo:conveyor"}}))
    assert code == 78
    assert levels["configuration.wrong"] == {"problem"}


def test_where_systemd_hangs_it_is_asked_once_and_that_is_told(tmp_path, monkeypatch):
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(service, "_ANSWER_S", 2.0)
    ask = cache(ask_systemd)
    assert find_unit_user(ask()) is None
    found = examine_service(load_config(write_config(tmp_path), {}), ask)
    assert [(one.id, one.level) for one in found] == [("service.slow", Level.NOTE)]
    assert (tmp_path / "asked").read_text() == "asked\n"
