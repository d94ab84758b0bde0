"""The systemd unit: what it promises, checked by systemd itself."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_runtime.errors import ConfigError
from tests.support.paths import ROOT
from tests.support.programs import find_program
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

FOLDER = ROOT / "systemd"
UNIT = FOLDER / "edge-runtime.service"
MOST_EXPOSURE = 2.0


class Keys(configparser.ConfigParser):
    """A unit file: keys keep their case, and one that comes again adds to the first."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture
def service() -> dict[str, str]:
    keys = Keys(strict=False, interpolation=None)
    keys.read_string(UNIT.read_text())
    return dict(keys["Service"])


def test_it_is_ready_when_it_says_so_and_watched_afterwards(service: dict[str, str]) -> None:
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert int(service["WatchdogSec"]) >= 10


def test_a_refused_configuration_is_not_restarted_and_everything_else_is(service: dict[str, str]) -> None:
    assert service["Restart"] == "always"  # exit 0 too: a SIGTERM that is not systemd's
    assert service["RestartPreventExitStatus"] == str(ConfigError.exit_code)


def test_an_edit_starts_what_a_refused_configuration_ended() -> None:
    keys = Keys(strict=False, interpolation=None)
    keys.read_string((FOLDER / "edge-runtime.path").read_text())
    assert keys["Path"]["Unit"] == UNIT.name
    assert f"run {keys['Path']['PathChanged']}\n" in UNIT.read_text()


def test_a_reload_is_sighup(service: dict[str, str]) -> None:
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_it_is_asked_to_stop_before_it_is_killed(service: dict[str, str]) -> None:
    assert service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"]) > 10


def test_what_the_daemon_needs_stays_allowed(service: dict[str, str]) -> None:
    text = UNIT.read_text()
    assert service["StateDirectory"] == "edge-runtime"
    assert service["SupplementaryGroups"] == "video"
    assert "DeviceAllow=char-video4linux rw" in text
    assert "PrivateDevices=yes\n" not in text.replace("# PrivateDevices=yes", "")
    assert "~@resources" not in text.replace("# @resources", "")
    assert "ProcSubset" not in text
    assert "MemoryDenyWriteExecute" not in text  # OpenVINO compiles code; ONNX Runtime boxes use the drop-in
    assert (
        "MemoryDenyWriteExecute=yes" in (FOLDER / "edge-runtime.service.d/onnxruntime-only.conf").read_text()
    )


def test_it_runs_as_an_unprivileged_user(service: dict[str, str]) -> None:
    assert service["DynamicUser"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["NoNewPrivileges"] == "yes"


def test_the_readme_installs_in_ten_lines_and_names_what_exists() -> None:
    text = (FOLDER / "README.md").read_text()
    block = text.split("```sh\n")[1].split("```")[0]
    commands = block.replace("\\\n", " ").strip().splitlines()
    assert len(commands) <= 10
    for word in block.split():
        if word.startswith(("systemd/", "configs/")):
            assert (FOLDER.parent / word).is_file(), word


@pytest.mark.parametrize("with_drop_in", [False, True])
def test_systemd_finds_it_hardened(tmp_path: Path, with_drop_in: bool) -> None:
    unit = tmp_path / UNIT.name
    shutil.copy(UNIT, unit)
    if with_drop_in:
        shutil.copytree(FOLDER / "edge-runtime.service.d", tmp_path / "edge-runtime.service.d")
    limit = f"--threshold={MOST_EXPOSURE * 10:.0f}"
    command = [find_program("systemd-analyze"), "security", "--offline=yes", "--no-pager", limit, str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    program = tmp_path / "edge-runtime"
    program.touch(mode=0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/edge-runtime/bin/edge-runtime", str(program)))
    done = subprocess.run(
        [find_program("systemd-analyze"), "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert done.returncode == 0, done.stderr
    assert complaints == []
