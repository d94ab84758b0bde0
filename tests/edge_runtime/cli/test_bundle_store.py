"""``bundle install``, ``list``, ``remove`` and ``gc`` on the command line: exit codes and answers for machines."""

import orjson
import pytest

from edge_runtime.cli.main import main
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.version_pointers import VersionPointers
from tests.support.bundle_store import make_bundle, pack


@pytest.fixture
def run(capsys):
    """Gives (exit code, standard output, standard error) of ``edge-runtime bundle ...``."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["bundle", *map(str, arguments)])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "box.yaml"
    content = {
        "device": "box",
        "state_dir": str(tmp_path / "state"),
        "models": {"m": {"bundle": "photos"}},
        "cameras": {"belt": {"path": "demo:conveyor", "model": "m"}},
        "bundles": {"version_policy": {"latest": {"num_versions": 2}}, "allow_downgrade": True},
    }
    path.write_bytes(orjson.dumps(content))
    return path


def source(tmp_path, version):
    return make_bundle(tmp_path / f"v{version}", version=version)


def test_the_life_of_versions_with_a_configuration(run, tmp_path, config):
    archive = pack(source(tmp_path, 1), tmp_path / "v1.tar.gz")
    code, out, _ = run("install", archive, "--config", config, "--json")
    answer = orjson.loads(out)
    assert (code, answer["outcome"], answer["version"]) == (0, "installed", 1)
    assert answer["path"] == str(tmp_path / "state" / "bundles" / "photos" / "1")
    state = ModelState.open(tmp_path / "state", "m")
    VersionPointers(active=1).save(state.versions_path)
    code, out, _ = run("install", archive, "--config", config)
    assert code == 0
    assert out.startswith("already installed: photos/1")
    for version in (2, 4, 3):
        code, out, _ = run("install", source(tmp_path, version), "--config", config, "--json")
        assert code == 0
    assert orjson.loads(out)["removed"] == ["photos/2"]
    code, out, _ = run("list", "--config", config, "--json")
    listed = {one["version"]: one for one in orjson.loads(out)["bundles"]}
    assert sorted(listed) == [1, 3, 4]
    assert listed[1]["roles"] == ["active of m"]
    assert (listed[3]["format"], listed[3]["problem"]) == ("onnx", None)
    assert run("remove", "photos/1", "--config", config)[0] == 65
    assert run("remove", "photos/4", "--config", config)[0] == 0
    code, out, _ = run("gc", "--config", config, "--json")
    assert (code, orjson.loads(out)["removed"]) == (0, [])
    assert "active of m" in run("list", "--config", config)[1]


def test_the_version_that_a_model_will_start_with_is_not_called_unused(run, tmp_path, config):
    for version in (1, 2):
        assert run("install", source(tmp_path, version), "--config", config)[0] == 0
    listed = orjson.loads(run("list", "--config", config, "--json")[1])["bundles"]
    assert [(one["version"], one["roles"], one["first_start_of"]) for one in listed] == [
        (1, [], []),
        (2, [], ["m"]),
    ]
    assert "not in use" not in run("list", "--config", config)[1].splitlines()[2]
    VersionPointers(active=1).save(ModelState.open(tmp_path / "state", "m").versions_path)
    listed = orjson.loads(run("list", "--config", config, "--json")[1])["bundles"]
    assert [one["first_start_of"] for one in listed] == [[], []]


def test_a_store_without_a_configuration(run, tmp_path):
    root = tmp_path / "bundles"
    assert run("list", "--root", root)[:2] == (0, f"no bundle is installed in {root}\n")
    assert run("install", source(tmp_path, 2), "--root", root)[0] == 0
    assert run("install", source(tmp_path, 1), "--root", root)[0] == 65
    assert run("install", tmp_path / "v1", "--root", root, "--allow-downgrade")[0] == 0
    (root / "photos" / "2" / "labels.txt").unlink()
    assert "DAMAGED" in run("list", "--root", root)[1]
    assert run("remove", "photos/2", "--root", root)[0] == 0
    assert run("gc", "--root", root)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("gc", "--root", "a", "--config", "b"),
        ("remove", "photos", "--root", "a"),
        ("remove", "../1", "--root", "a"),
        ("remove", "photos/0", "--root", "a"),
        ("install", "--root", "a"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_a_usage_error(run, arguments):
    assert run(*arguments)[0] == 64


def test_errors_have_the_exit_code_of_who_must_act(run, tmp_path, config):
    code, _, err = run("install", tmp_path / "none", "--config", config)
    assert code == 65
    assert str(tmp_path / "none") in err
    (tmp_path / "file").touch()
    assert run("install", source(tmp_path, 1), "--root", tmp_path / "file")[0] == 74
    assert run("list", "--config", tmp_path / "missing.yaml")[0] == 78
    state = ModelState.open(tmp_path / "state", "m")
    state.versions_path.write_bytes(b"{")
    assert run("gc", "--config", config)[0] == 74
