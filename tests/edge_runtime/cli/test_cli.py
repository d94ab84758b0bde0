"""The command line and what it does without a daemon, with the demo bundle: answers, exit codes, words for people."""

import os
import pickle
import shutil
import subprocess
import sys
import zipfile

import click
import numpy as np
import orjson
import pytest

from edge_runtime.cli import bundle
from edge_runtime.cli.doctor.configuration import judge_check
from edge_runtime.cli.infer import format_answer
from edge_runtime.cli.main import cli, main
from edge_runtime.cli.send import MOVED, VERBS
from edge_runtime.messaging.commands.request import ARGUMENTS
from tests.support.mosquitto import free_port
from tests.support.paths import DEMO, ROOT
from tests.support.signed_bundles import build_small
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"
PICTURES = DEMO / "pictures"


@pytest.fixture
def run(capsys):
    """Gives (exit code, standard output, standard error) of a command line."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def config(folder, **keys):
    path = folder / "box.yaml"
    content = {
        "device": "box",
        "state_dir": str(folder / "state"),
        "models": {"m": {"bundle": "demo:efficientnet-lite0"}},
        "cameras": {"belt": {"path": "demo:conveyor", "model": "m"}},
        **keys,
    }
    path.write_bytes(orjson.dumps(content))
    return path


def test_infer_answers_every_picture(run):
    code, out, _ = run("infer", BUNDLE, PICTURES / "orange.jpg", PICTURES / "dog.jpg", "--json")
    first, second = map(orjson.loads, out.splitlines())
    assert code == 0
    assert first["picture"].endswith("orange.jpg")
    assert first["top"][0]["label"] == "orange"
    assert len(second["top"]) == 5


def test_infer_says_which_picture_was_rejected_and_goes_on(run, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    code, out, _ = run("infer", BUNDLE, tmp_path / "bad.jpg", PICTURES / "orange.jpg")
    assert code == 65
    _, bad, good = (line.split(maxsplit=1) for line in out.splitlines())
    assert (bad[0], bad[1][:9]) == (str(tmp_path / "bad.jpg"), "rejected,")
    assert (good[0], good[1][:9]) == (str(PICTURES / "orange.jpg"), "orange 0.")


def test_infer_takes_folders_and_a_bundle_that_ships(run, tmp_path):
    for name in ("10.jpg", "sub/2.jpg", "2.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PICTURES / "orange.jpg", tmp_path / name)
    code, out, _ = run("infer", "demo:efficientnet-lite0", tmp_path, PICTURES / "dog.jpg", "--json")
    found = [orjson.loads(line)["picture"] for line in out.splitlines()]
    assert code == 0
    assert found == [str(tmp_path / name) for name in ("2.jpg", "10.jpg", "sub/2.jpg")] + [
        str(PICTURES / "dog.jpg")
    ]


def test_infer_of_a_folder_without_pictures_is_wrong_usage(run, tmp_path):
    code, out, err = run("infer", "demo:efficientnet-lite0", tmp_path)
    assert (code, out) == (64, "")
    assert str(tmp_path) in err


def test_an_installed_bundle_is_found_by_its_name(run, tmp_path):
    box = config(tmp_path, mqtt={"host": "broker", "user": "u", "password": "{EDGE_NOT_SET}"})
    shutil.copytree(BUNDLE, tmp_path / "state" / "bundles" / BUNDLE.parent.name / "1")
    for name in ("efficientnet-lite0", "efficientnet-lite0/1"):
        code, out, _ = run("infer", name, PICTURES / "orange.jpg", "--config", box)
        assert code == 0
        assert "orange 0." in out
    code, out, err = run("infer", "efficientnet-lite0/2", PICTURES / "orange.jpg", "--config", box)
    assert (code, out) == (64, "")
    assert "efficientnet-lite0/1" in err
    for name in ("demo:absent", "demo:../../demo", "../efficientnet-lite0"):
        assert run("bundle", "verify", name)[0] == 64


def test_the_first_configuration_of_the_page_gives_results(tmp_path):
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    (tmp_path / "first.yaml").write_text(page.split("```yaml\n# first.yaml\n")[1].split("```")[0])
    (tmp_path / "my-pictures").mkdir()
    for name in ("orange.jpg", "dog.jpg"):
        shutil.copy(PICTURES / name, tmp_path / "my-pictures")
    command = [sys.executable, "-m", "edge_runtime", "run", "first.yaml"]
    # As a service: the page's port may be taken here.
    env = os.environ | {"PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": "@edge-runtime-test-absent"}
    subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True, timeout=WAIT_S)
    results = (tmp_path / "state" / "results.jsonl").read_bytes().splitlines()
    tops = {orjson.loads(line)["payload"]["top"][0]["label"] for line in results if b'"top"' in line}
    assert tops == {"orange", "Pekingese"}


def test_detections_are_told_in_words():
    person = {"label": "person", "score": 0.934, "box": [10.2, 20.0, 50.4, 120.0]}
    words = "person 0.93 at 10,20, 40 x 100 pixels"
    assert format_answer({"picture": "a.png", "detections": [person]}) == words
    assert format_answer({"picture": "a.png", "detections": []}) == "no detections"


def test_values_and_scores_read_like_measurements():
    heat = {"name": "heat", "value": 81.2346, "unit": "degC", "limits": "above"}
    wear = {"name": "wear", "value": 0.25, "unit": "", "limits": None}
    assert format_answer({"values": [heat, wear]}) == "heat 81.2346 degC (above its limits), wear 0.25"
    score = {"score": 2.0, "threshold": 1.5, "is_anomalous": True}
    assert format_answer({"anomaly": score}) == "anomalous: score 2, threshold 1.5"
    assert format_answer({"anomaly": {"score": 2.0, "threshold": None, "is_anomalous": None}}).endswith(
        "score 2"
    )


def test_verify_reports_the_self_test(run):
    code, out, _ = run("bundle", "verify", BUNDLE, "--json")
    report = orjson.loads(out)
    assert (code, report["ok"], report["bundle"]) == (0, True, "efficientnet-lite0/1")
    assert report["worst"] <= report["tolerance"]


def test_verify_refuses_a_changed_bundle(run, tmp_path):
    shutil.copytree(BUNDLE, tmp_path / "1")
    with (tmp_path / "1" / "labels.txt").open("a") as file:
        file.write("one more\n")
    code, _, err = run("bundle", "verify", tmp_path / "1")
    assert code == 65
    assert "labels.txt" in err


def test_inspect_tells_what_recalibration_can_do(run):
    code, out, _ = run("bundle", "inspect", BUNDLE, "--json")
    report = orjson.loads(out)
    assert code == 0
    assert report["size_bytes"]["model.onnx"] > 4_000_000
    assert report["calibration"]


def test_inspect_counts_for_a_person_the_layers_that_can_be_corrected(run):
    code, out, _ = run("bundle", "inspect", BUNDLE)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert {"efficientnet-lite0/1:", "preprocess", "postprocess", "recalibration", "not"} <= lines.keys()
    assert "width 224" in lines["preprocess"]
    assert "21008" in lines["recalibration"]
    assert len(out.splitlines()) < 12


def test_check_passes_a_good_configuration(run, tmp_path):
    code, out, _ = run("check", config(tmp_path), "--json")
    assert code == 0
    assert orjson.loads(out)["models"]["m"]["bundle"] == "efficientnet-lite0/1"


def test_check_names_every_problem_of_a_bad_one(run, tmp_path):
    code, _, err = run(
        "check", config(tmp_path, device="a b", cameras={"belt": {"path": "mqtt", "model": "x"}})
    )
    assert code == 78
    assert "device" in err
    assert "cameras.belt.model" in err


def test_check_names_a_missing_bundle(run, tmp_path):
    code, _, err = run("check", config(tmp_path, models={"m": {"bundle": "parts"}}))
    assert code == 65
    assert "bundles/parts" in err


def test_check_names_the_problems_of_all_models_and_leaves_with_the_gravest(run, tmp_path):
    good = "demo:efficientnet-lite0"
    models = {
        "gone": {"bundle": str(tmp_path / "gone")},
        "good": {"bundle": good},
        "gpu": {"bundle": good, "engine": {"devices": ["CUDA"]}},
        "torch": {"bundle": good, "engine": {"runtime": "torch"}},
    }
    cameras = {"belt": {"path": "demo:conveyor", "model": "good"}}
    path = config(tmp_path, models=models, cameras=cameras)
    code, out, err = run("check", path)
    assert (code, out) == (78, "")
    problems = [line for line in err.splitlines()[1:] if not line.startswith("note: ")]
    assert [line.split(": ")[1] for line in problems] == [
        "models.gone",
        "models.gpu",
        "models.torch",
    ]
    del models["torch"]
    assert run("check", config(tmp_path, models=models, cameras=cameras))[0] == 65
    del models["gone"]
    assert run("check", config(tmp_path, models=models, cameras=cameras))[0] == 69


def test_check_names_a_key_that_cannot_be_used_once(run, tmp_path):
    shutil.copytree(BUNDLE, tmp_path / "parts" / "1")
    (tmp_path / "publisher.pem").write_text("no key")
    models = {name: {"bundle": str(tmp_path / "parts")} for name in ("a", "b")}
    box = config(
        tmp_path,
        models=models,
        cameras={"belt": {"path": "demo:conveyor", "model": "a"}},
        trust={"keys": [str(tmp_path / "publisher.pem")]},
    )
    code, out, _ = run("check", box, "--json")
    assert code == 78
    assert [one["where"] for one in orjson.loads(out)["problems"]] == ["trust.keys.0"]


@pytest.mark.parametrize("bad", [{"models": {"m": {"bundle": "parts"}}}, {"device": "a b"}])
def test_check_gives_machines_an_object_whatever_is_wrong(run, tmp_path, bad):
    code, out, _ = run("check", config(tmp_path, **bad), "--json")
    report = orjson.loads(out)
    assert code in (65, 78)
    assert report["ok"] is False
    assert report["problems"][0]["where"] in ("models.m", "device")
    assert report["problems"][0]["line"] == 1


def test_check_notes_what_has_no_effect_and_what_is_not_there_yet(run, tmp_path):
    models = {"m": {"bundle": "demo:efficientnet-lite0", "engine": {"cache": True}}}
    cameras = {"belt": {"path": str(tmp_path / "share"), "model": "m", "tracking": {}}}
    mqtt = {"host": "broker.example", "home_assistant": {}}
    http = {"host": "0.0.0.0", "allow_remote": True}
    path = config(tmp_path, models=models, cameras=cameras, mqtt=mqtt, http=http)
    code, out, _ = run("check", path)
    assert code == 0
    assert "mqtt.home_assistant: " in out
    assert "note: http: " in out
    assert "models.m.engine.cache: " in out
    assert f"cameras.belt.path: {tmp_path}/share" in out
    assert "recalibration: m " in out
    assert "cameras.belt.tracking: " in out
    checked = orjson.loads(run("check", path, "--json")[1])
    assert len(checked["notes"]) == 6
    assert any(
        "cameras.belt.tracking" in one.found for one in judge_check(checked) if one.id == "configuration.note"
    )


def test_check_tells_the_times_of_a_rollout_before_it_starts(run, tmp_path):
    model = {"bundle": "demo:efficientnet-lite0", "rollout": {}}
    camera = {"path": "demo:conveyor", "model": "m", "fps": 10}
    path = config(tmp_path, models={"m": model}, cameras={"belt": camera})
    code, out, _ = run("check", path, "--json")
    times = orjson.loads(out)["models"]["m"]["rollout"]
    assert (code, times["promotes_after_s"], times["rolls_back_within_s"]) == (0, 220.0, 200.0)
    assert times["text"] in run("check", path)[1]
    streams = {"fps": 10}, {"fps": 5}, {}
    cameras = {f"c{i}": {**camera, "fps": None, **keys} for i, keys in enumerate(streams)}
    path = config(tmp_path, models={"m": model}, cameras=cameras)  # one gives as many frames as it likes
    times = orjson.loads(run("check", path, "--json")[1])["models"]["m"]["rollout"]
    assert times["promotes_after_s"] is None


def test_check_says_which_of_several_versions_is_used_without_a_number(run, tmp_path):
    for version in (1, 2):
        small = build_small(tmp_path / "bundles", version=version)
    path = config(tmp_path, models={"m": {"bundle": str(small.parent)}})
    assert orjson.loads(run("check", path, "--json")[1])["models"]["m"]["versions"] == [1, 2]
    assert "1, 2" in run("check", path)[1]
    path = config(tmp_path, models={"m": {"bundle": str(small.parent), "version": 1}})
    assert "versions" not in orjson.loads(run("check", path, "--json")[1])["models"]["m"]


def test_check_notes_a_rollout_that_has_no_effect(run, tmp_path):
    model = {"bundle": "demo:efficientnet-lite0", "version": 1, "rollout": {}}
    code, out, _ = run("check", config(tmp_path, models={"m": model}), "--json")
    answer = orjson.loads(out)
    assert code == 0
    assert "rollout" not in answer["models"]["m"]
    assert any(note.startswith("models.m.rollout:") for note in answer["notes"])


def test_check_refuses_a_camera_that_can_never_come_and_notes_one_that_may(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    paths = {"never": str(tmp_path / "pipe"), "later": "/dev/v4l/by-id/usb-none-index0"}
    cameras = {name: {"path": path, "model": "m"} for name, path in paths.items()}
    code, _, err = run("check", config(tmp_path, cameras=cameras))
    assert code == 78
    problem, note = (line for line in err.splitlines() if "cameras." in line)
    assert "cameras.never.path" in problem
    assert "line 1" in problem
    assert note.startswith("note: cameras.later.path")


def test_check_notes_no_missing_way_to_a_baseline_where_there_is_one(run, tmp_path):
    models = {"m": {"bundle": "demo:efficientnet-lite0"}}
    for given in ({"commission": {"automatic": True}}, {"enabled": False}):
        path = config(tmp_path, models=models, recalibration=given)
        assert "\nnote: " not in run("check", path)[1]


def test_schema_goes_to_a_file_or_to_the_screen(run, tmp_path):
    code, out, _ = run("schema")
    assert code == 0
    assert run("schema", "--out", tmp_path / "schema.json")[0] == 0
    assert (tmp_path / "schema.json").read_text() == out


@pytest.mark.parametrize(
    "arguments",
    [
        ("schema", "--out", "/nowhere/schema.json"),
        ("calibrate", BUNDLE, "--healthy", PICTURES, "--baseline", "/nowhere/baseline"),
        ("infer", "/nowhere", "picture.jpg"),
        ("send", "explode", "--config", "box.yaml"),
        ("demo", "--drift", "earthquake"),
        ("run", "box.yaml", "--for", "-1"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_work(run, arguments):
    code, out, err = run(*arguments)
    assert code == 64
    assert out == ""
    assert "Error: " in err


@pytest.mark.parametrize(
    ("arguments", "kind", "expected"),
    [
        (("infer", "/nowhere", "picture.jpg", "--json"), "Usage", 64),
        (("calibrate", BUNDLE, "--json"), "DataError", 65),
        (("config", "diff", "/nowhere.yaml", "--json"), "CommandError", 64),
        (("send", "status", "--config", "/nowhere.yaml", "--json"), "ConfigError", 78),
    ],
)
def test_with_json_an_error_is_an_object_too(run, arguments, kind, expected):
    code, out, err = run(*arguments)
    error = orjson.loads(out)["error"]
    assert (code, error["type"], error["exit_code"]) == (expected, kind, expected)
    assert error["message"] in err


def list_by_name(group):
    context = click.Context(group)
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


def test_every_command_that_prints_a_result_has_it_for_machines():
    def list_commands(group, *names):
        for name, command in list_by_name(group).items():
            if isinstance(command, click.Group):
                yield from list_commands(command, *names, name)
            else:
                yield (*names, name), {option for one in command.params for option in one.opts}

    assert [names for names, options in list_commands(cli) if "--json" not in options] == []


def test_send_knows_the_verbs_that_devices_obey_and_lists_them(run):
    assert VERBS.keys() | MOVED.keys() | {"rollout"} == ARGUMENTS.keys()  # that has a command of its own
    code, out, _ = run("send", "--help")
    assert code == 0
    assert out.splitlines()[0] == "Usage: edge-runtime send [OPTIONS] VERB"
    assert all(f"  {verb:<12} " in out for verb in VERBS)
    assert "bless" not in out


def test_send_without_a_broker_says_what_is_missing(run, tmp_path):
    code, _, err = run("send", "status", "--config", config(tmp_path))
    assert code == 64
    assert "'mqtt'" in err


def test_send_asks_although_another_section_was_edited_badly(run, tmp_path):
    models = {"m": {"bundle": "demo:efficientnet-lite0", "threads": 0}}
    mqtt = {"host": "127.0.0.1", "port": free_port()}
    code, _, err = run("send", "status", "--config", config(tmp_path, models=models, mqtt=mqtt))
    assert code == 69
    assert "connection refused" in err


def test_calibrate_records_a_baseline_and_reads_it_again(run, tmp_path):
    healthy, now = tmp_path / "healthy", tmp_path / "now"
    for folder, part in ((healthy, slice(0, 16)), (now, slice(16, 26))):
        folder.mkdir()
        for path in sorted(PICTURES.glob("*.jpg"))[part]:
            shutil.copy(path, folder)
    baseline = tmp_path / "site.safetensors"
    code, out, _ = run("calibrate", BUNDLE, "--healthy", healthy, "--baseline", baseline)
    assert code == 0
    assert "baseline of 16 healthy pictures" in out
    code, out, _ = run("calibrate", BUNDLE, "--baseline", baseline)
    assert code == 0
    assert "give --reference" in out
    patch = tmp_path / "patch.safetensors"
    code, out, _ = run(
        "calibrate", BUNDLE, "--baseline", baseline, "--reference", now, "--out", patch, "--json"
    )
    report = orjson.loads(out)
    assert code == 0  # a refusal by the gate is a normal answer
    assert report["reasons"]
    assert patch.exists() is report["accepted"]


def test_variables_come_from_a_file_as_for_the_service(run, tmp_path):
    secrets = tmp_path / "secrets.env"
    secrets.write_text("# of the box\nEDGE_TEST_DEVICE='a $b'\nEDGE_TEST_NAME=box-7\n")
    path = config(tmp_path, device="{EDGE_TEST_NAME}")
    assert run("check", path)[0] == 78
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_TEST_NAME", "overridden")
        patch.setenv("EDGE_TEST_DEVICE", "")
        assert run("--env-file", secrets, "check", path)[0] == 0
        assert (os.environ["EDGE_TEST_NAME"], os.environ["EDGE_TEST_DEVICE"]) == ("box-7", "a $b")
    assert run("--env-file", tmp_path / "absent", "check", path)[0] == 64


def test_building_without_its_extra_says_what_to_install(tmp_path):
    (tmp_path / "golden").mkdir()
    recipe = {
        "name": "net", "model": "net.pt", "factory": "nets:make", "golden": "golden", "labels": ["a", "b"],
        "preprocess": {"colour": "rgb", "width": 8, "height": 8, "geometry": "stretch", "filter": "area",
                       "mean": [0, 0, 0], "std": [1, 1, 1]},
        "postprocess": {"task": "classification", "scores": "logits"},
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as checkpoint:
        checkpoint.writestr("net/data.pkl", pickle.dumps({"state_dict": {}}, protocol=2))
        checkpoint.writestr("net/version", "3")
    (tmp_path / "net.yaml").write_bytes(orjson.dumps(recipe))
    # In a process of its own: here some module has imported torch before.
    without_torch = "import sys; sys.modules['torch'] = None; from edge_runtime.cli.main import main; main()"
    command = [sys.executable, "-c", without_torch, "bundle", "build", "net.yaml", "--out", "bundles"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "edge-runtime[build]" in done.stderr) == (64, True), done.stderr


@pytest.mark.parametrize(
    "flags", [("street-pedestrians", "--quantize", "none"), ("r.yaml", "--pictures", ".")]
)
def test_flags_that_would_be_ignored_are_refused(run, tmp_path, flags):
    code, _, err = run("bundle", "build", *flags, "--out", tmp_path / "bundles")
    assert code == 64
    assert all(flag in err for flag in flags[:2])
    assert not (tmp_path / "bundles").exists()


def test_a_folder_for_bundles_that_cannot_be_made_is_said_before_anything_is_built(run, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("bundle", "build", "efficientnet-lite0", "--out", tmp_path / "file")
    assert code == 74
    assert err


def test_a_bundle_that_has_moved_to_the_examples_is_not_built_without_them(run, tmp_path, monkeypatch):
    monkeypatch.setitem(bundle.EXAMPLES, "efficientnet-lite0", "no_such_example")
    code, _, err = run("bundle", "build", "efficientnet-lite0", "--out", tmp_path)
    assert code == 64
    assert "examples.no_such_example" in err


def test_a_baseline_that_is_only_read_need_not_be_writable(run):
    code, _, err = run("calibrate", BUNDLE, "--baseline", "/nowhere/b", "--reference", PICTURES)
    assert code == 65
    assert "/nowhere/b: cannot be read" in err


def test_calibrate_without_a_baseline_or_with_a_damaged_one_says_so(run, tmp_path):
    code, _, err = run("calibrate", BUNDLE, "--reference", PICTURES)
    assert code == 65
    assert "--healthy" in err
    (tmp_path / "bad").write_bytes(np.zeros(100).tobytes())
    code, _, err = run("calibrate", BUNDLE, "--baseline", tmp_path / "bad", "--reference", PICTURES)
    assert code == 65
    assert "bad: " in err


def test_the_summary_of_every_command_fits_its_list():
    def check(group, width=80):
        room = width - 6 - max(map(len, list_by_name(group)))  # as click lays the list out
        for name, command in list_by_name(group).items():
            assert not command.get_short_help_str(room).endswith("..."), name
            if isinstance(command, click.Group):
                check(command)

    check(cli)
