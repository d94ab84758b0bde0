"""Which configuration a start takes: the file, what was in force last, none at all, or nothing but the error."""

import pytest

from edge_runtime.cli import run as command
from edge_runtime.cli.main import main
from edge_runtime.config import keep_last_good, load_config
from edge_runtime.daemon.wiring import daemon as wiring
from edge_runtime.errors import BundleError

GOOD = """
device: box
state_dir: state
models: {m: {bundle: /gone}}
cameras: {belt: {path: pictures, model: m, fps: %s}}
"""


@pytest.fixture
def starts(monkeypatch):
    """What is started, in order; nothing but safe mode can be."""
    seen = []

    def build(loaded, path, refused=None):
        seen.append("safe mode" if loaded.is_safe_mode else loaded.cameras["belt"].fps)
        if not loaded.is_safe_mode:
            raise BundleError("/gone", "no folder", "a bundle", "Copy it.")

    monkeypatch.setattr(command, "_build", build)
    monkeypatch.setattr(wiring, "configure_log_as_set", lambda config: None)
    monkeypatch.setattr(command, "_run", lambda daemon, for_s, *, as_json: 0)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    return seen


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["run", *map(str, arguments)])
    return ended.value.code


@pytest.fixture
def path(tmp_path):
    """What was in force last names a bundle that is gone, as the file does."""
    path = tmp_path / "box.yaml"
    path.write_text(GOOD % 3)
    keep_last_good(load_config(path, {}), path)
    return path


@pytest.mark.parametrize(("fps", "tried", "code"), [("3", [3], 65), ("4", [4, 3], 65), ("soon", [3], 78)])
def test_without_a_configuration_that_works_a_person_gets_the_error_and_a_service_safe_mode(
    path, starts, monkeypatch, capsys, fps, tried, code
):
    path.write_text(GOOD % fps)
    assert run(path) == code
    assert starts == tried
    assert ("/gone" if code == 65 else "cameras.belt.fps") in capsys.readouterr().err
    assert run(path, "--safe-mode") == 0
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    assert run(path) == 0
    assert starts == [*tried, *tried, "safe mode", *tried, "safe mode"]


def test_a_file_that_is_not_there_is_no_box_to_rescue(tmp_path, starts):
    assert run(tmp_path / "gone.yaml", "--safe-mode") == 78
    assert starts == []
