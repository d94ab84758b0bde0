"""Topics whose cause a test cannot plant for real: a control group, a hardware clock, a disk, systemd."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from edge_runtime.cli import doctor
from edge_runtime.cli.doctor import service
from edge_runtime.cli.doctor.clock import examine_clock
from edge_runtime.cli.doctor.configuration import CERTIFICATE, CHECKED
from edge_runtime.cli.doctor.engines import Import, judge_import
from edge_runtime.cli.doctor.examine import run_topics
from edge_runtime.cli.doctor.finding import Level, exit_code_of, fine, note, problem
from edge_runtime.cli.doctor.port import examine_port
from edge_runtime.cli.doctor.processor import examine_processor
from edge_runtime.cli.doctor.service import Unit, find_unit_user, judge_unit, read_properties
from edge_runtime.cli.doctor.service_user import ServiceUser
from edge_runtime.cli.doctor.state_folder import examine_state, judge_room
from edge_runtime.config import parse_config
from tests.support.paths import ROOT

DAY_S = 86_400
UNIT = """LoadState=loaded
ActiveState=active
Result=success
NRestarts=0
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
StateDirectory=edge-runtime
ReadWritePaths=
DevicePolicy=closed
DeviceAllow=char-video4linux rw
User=edge-runtime
DynamicUser=yes
SupplementaryGroups=video
"""


def levels(findings):
    return {(one.id, one.level) for one in findings if one.level is not Level.OK}


def make_config(**keys):
    defaults = {
        "device": "box",
        "models": {"parts": {"bundle": "parts"}},
        "cameras": {"belt": {"path": "/dev/video0", "model": "parts"}},
    }
    return parse_config(json.dumps(defaults | keys), "test", {}, check_files=False)


def test_a_cpu_quota(tmp_path):
    for name, text in {
        "proc/self/cgroup": "0::/box\n",
        "proc/self/mountinfo": "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/box/cpu.max": "50000 100000\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert ("processor.quota", Level.NOTE) in levels(examine_processor(root=tmp_path))


def test_cores_that_are_kept_from_it():
    allowed = len(os.sched_getaffinity(0))
    assert ("processor.affinity", Level.NOTE) in levels(examine_processor(host_cores=allowed + 1))
    assert ("processor.affinity", Level.NOTE) not in levels(examine_processor(host_cores=allowed))


@pytest.mark.parametrize("off_s", [-DAY_S, DAY_S])
def test_a_hardware_clock_that_differs_by_a_day(tmp_path, off_s):
    rtc = tmp_path / "sys/class/rtc/rtc0/since_epoch"
    rtc.parent.mkdir(parents=True)
    rtc.write_text(f"{round(time.time()) + off_s}\n")
    assert levels(examine_clock([], tmp_path)) == {("clock.wrong", Level.PROBLEM)}


def test_a_file_from_tomorrow(tmp_path):
    (tmp_path / "active.json").touch()
    found = levels(examine_clock([tmp_path], tmp_path, now_wall_s=time.time() - DAY_S))
    assert found == {("clock.wrong", Level.PROBLEM)}
    assert ("clock.wrong", Level.PROBLEM) not in levels(examine_clock([tmp_path], tmp_path))


@pytest.mark.parametrize(
    ("free_mib", "inodes", "expected"),
    [
        (4096, 10**6, set()),
        (300, 10**6, {("state.low", Level.NOTE)}),
        (8, 10**6, {("state.full", Level.PROBLEM)}),
        (4096, 0, {("state.full", Level.PROBLEM)}),
        (4096, 99, {("state.low", Level.NOTE)}),
    ],
)
def test_room_on_the_disk(tmp_path, free_mib, inodes, expected):
    blocks = free_mib * 256
    disk = os.statvfs_result((4096, 4096, 10**7, blocks, blocks, 10**7, inodes, inodes, 0, 255))
    assert levels(judge_room(tmp_path, disk, 2**28)) == expected


def test_a_file_system_without_a_number_of_inodes(tmp_path):
    disk = os.statvfs_result((4096, 4096, 10**7, 10**6, 10**6, 0, 0, 0, 0, 255))
    assert levels(judge_room(tmp_path, disk, 0)) == set()


@pytest.mark.integration  # root tries the rights of others in a process
def test_a_state_directory_of_another_user(tmp_path):
    config = make_config(state_dir=str(tmp_path))
    me = ServiceUser.find(None, None)
    assert levels(examine_state(config, me)) <= {("state.low", Level.NOTE)}
    tmp_path.chmod(0o700)
    other = ServiceUser(me.uid + 4711, me.gid + 4711, ())
    found = [one for one in examine_state(config, other) if one.id == "state.owner"]
    assert [one.level for one in found] == [Level.PROBLEM]


@pytest.mark.integration  # a process with mounts of its own, where the test may make one
def test_root_asks_for_rights_where_the_daemon_sees_the_folder(tmp_path):
    """As with ``DynamicUser=``: only the daemon's mounts show its state directory to it."""
    uid, folder = 4711, Path("/mnt")
    mount = f"mount --bind {tmp_path} {folder} && chown {uid} {folder} && echo ready && exec sleep 600"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", mount], stdout=subprocess.PIPE) as daemon:
        is_mounted = daemon.stdout.readline() == b"ready\n"
        assert ServiceUser(uid, uid, (), daemon.pid).may(folder, ["r", "w", "x"]) is is_mounted
        assert ServiceUser(uid, uid, ()).may(folder, ["w"]) is False
        daemon.kill()


@pytest.mark.parametrize(
    ("reason", "is_missing", "expected"),
    [
        ("No module named 'openvino'", True, "engine.missing"),
        ("libGL.so.1: cannot open", False, "engine.broken"),
    ],
)
def test_a_library_is_a_problem_only_where_it_is_needed(reason, is_missing, expected):
    tried = Import(reason=reason, is_missing=is_missing)
    needed = judge_import("openvino", ("parts",), tried)
    assert (needed.id, needed.level, needed.exit_code) == (expected, Level.PROBLEM, 69)
    assert judge_import("openvino", (), tried).level is not Level.PROBLEM


def test_a_unit_that_lets_the_daemon_do_what_it_needs():
    assert levels(judge_unit(read_properties(UNIT), make_config())) == set()


@pytest.mark.parametrize(
    ("changed", "keys", "expected"),
    [
        ({}, {"state_dir": "/data/edge"}, "service.folder"),
        ({}, {"cameras": {"a": {"path": "/home/anna/pictures", "model": "parts"}}}, "service.folder"),
        ({}, {"cameras": {"a": {"path": "/tmp/pictures", "model": "parts"}}}, "service.folder"),
        ({"DeviceAllow": ""}, {}, "service.device"),
        ({}, {"models": {"parts": {"bundle": "parts", "engine": {"devices": ["GPU"]}}}}, "service.device"),
        ({"ActiveState": "failed"}, {}, "service.failed"),
        ({"NRestarts": "17"}, {}, "service.failed"),
    ],
)
def test_a_unit_that_keeps_it_from_that(changed, keys, expected):
    unit = read_properties(UNIT) | changed
    assert {name for name, _ in levels(judge_unit(unit, make_config(**keys)))} == {expected}


@pytest.mark.parametrize(
    ("group", "expected"), [("video", set()), (None, set()), ("plugdev", {"service.device"})]
)
def test_the_group_of_a_camera(monkeypatch, group, expected):
    monkeypatch.setattr(service, "find_group", lambda _: group)
    assert {name for name, _ in levels(judge_unit(read_properties(UNIT), make_config()))} == expected
    static = read_properties(UNIT) | {"DynamicUser": "no"}
    assert levels(judge_unit(static, make_config())) == set()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"DynamicUser": "no", "User": "nobody"}, "nobody"),
        ({"User": "nobody"}, None),
        ({"DynamicUser": "no", "User": ""}, None),
        ({"DynamicUser": "no", "User": "nobody-of-that-name"}, None),
    ],
)
def test_the_user_of_the_unit(changed, expected):
    assert find_unit_user(Unit(read_properties(UNIT) | changed)) == expected


def test_a_drop_in_that_opens_a_folder():
    unit = read_properties(UNIT) | {"ReadWritePaths": "-/data"}
    assert levels(judge_unit(unit, make_config(state_dir="/data/edge"))) == set()


def test_a_port_that_another_program_has():
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = list(examine_port(make_config(http={"port": other.getsockname()[1]})))
    assert [(one.id, one.level, one.exit_code) for one in found] == [("port.taken", Level.PROBLEM, 69)]


def test_a_topic_that_hangs_or_fails_is_told_and_the_others_count():
    end = threading.Event()

    def hang():
        end.wait()
        yield fine("never", "")

    def fail():
        yield fine("half", "")
        raise ZeroDivisionError

    found = run_topics(
        {"a": lambda: [fine("a", "")], "b": hang, "c": fail, "d": lambda: [fine("d", "")]}, 0.2
    )
    end.set()
    assert [(one.id, one.level) for one in found] == [
        ("a", Level.OK),
        ("doctor.slow", Level.NOTE),
        ("doctor.failed", Level.PROBLEM),
        ("d", Level.OK),
    ]


def test_the_exit_code_is_that_of_the_gravest_problem():
    assert exit_code_of([fine("a", ""), note("b", "")]) == 0
    assert exit_code_of([problem("a", "", "", 69), note("b", ""), problem("c", "", "", 65)]) == 65


def test_every_finding_is_on_the_page_and_no_other():
    folder = Path(doctor.__file__).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    made = set(re.findall(r"\b(?:note|problem)\(\s*\"([a-z]+\.[a-z-]+)\"", text)) | set(CHECKED.values())
    made |= {"configuration.wrong", *CERTIFICATE.values()}
    of_streams = re.findall(r"\b(?:note|problem)\(\s*f\"\{kind\}\.([a-z-]+)\"", text)
    made |= {f"{kind}.{what}" for kind in ("camera", "sensor") for what in of_streams}
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.split("## When something is wrong")[1].split("\n## ")[0].split("|---|---|")[1]
    told = set(re.findall(r"`([a-z]+\.[a-z-]+)`", table)) - {"mqtt.tls", "http.tls"}
    assert told == made


def test_a_port_that_the_daemon_has_which_answers_nobody_without_a_token():
    with socket.create_server(("127.0.0.1", 0)) as daemon:
        config = make_config(http={"port": daemon.getsockname()[1]})
        assert levels(examine_port(config, os.getpid())) == set()


def test_a_state_directory_behind_one_that_may_not_be_entered(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    user = ServiceUser(1, 1, ())
    assert levels(examine_state(make_config(), user)) == {("state.unknown", Level.NOTE)}


def test_root_may_use_the_directory_that_systemd_gives_to_the_service(tmp_path, monkeypatch):
    monkeypatch.setattr(ServiceUser, "may", lambda *_: True)
    found = levels(examine_state(make_config(state_dir=str(tmp_path)), ServiceUser(0, 0, ())))
    assert "state.owner" not in {name for name, _ in found}
