"""The command line: files in, files out, exit codes, JSON; nothing half-written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from calibration.baseline.baseline import Baseline
from calibration.cli.main import cli
from calibration.stats import atomic_file
from tests.support.onnx_nets import Net, classifier, hazy, pictures, quantized
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "m.onnx").write_bytes(quantized(classifier(seed=4), folder))
    np.savez(folder / "clean.npz", x=pictures(64, seed=1))
    np.savez(folder / "hazy.npz", x=hazy(pictures(48, seed=2)))
    np.savez(folder / "few.npz", x=pictures(4))
    np.savez(folder / "classes.npz", x=hazy(pictures(48, seed=2)), y=np.full(48, 5000))
    bad = pictures(16)
    bad[3] = np.nan
    np.savez(folder / "nan.npz", x=bad)
    assert run(folder, "profile m.onnx --data clean.npz --out b.safetensors").exit_code == 0
    return folder


def run(folder: Path, line: str) -> Result:
    words = [
        str(folder / w) if Path(w).suffix in {".onnx", ".npz", ".safetensors"} else w for w in line.split()
    ]
    return CliRunner().invoke(cli, words)


RECALIBRATE = "recalibrate m.onnx --baseline b.safetensors --reference"


def test_recalibrate_and_apply_write_a_patch_and_a_model(folder: Path) -> None:
    done = run(folder, f"{RECALIBRATE} hazy.npz --out p.safetensors --json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["accepted"]) == (0, True)
    assert run(folder, "apply m.onnx --patch p.safetensors --out patched.onnx").exit_code == 0
    assert (folder / "patched.onnx").read_bytes() != (folder / "m.onnx").read_bytes()


def test_recalibrate_writes_a_page_with_or_without_pictures(folder: Path, tmp_path: Path) -> None:
    for more, pictures_in_it in (("", True), ("--no-thumbnails", False)):
        page = tmp_path / "page.html"
        line = f"{RECALIBRATE} hazy.npz --out p2.safetensors --report {page} {more}"
        assert run(folder, line).exit_code == 0
        text = page.read_text()
        assert ("data:image/" in text) is pictures_in_it
        assert "apply m.onnx --patch p2.safetensors" in text
    done = run(folder, f"{RECALIBRATE} hazy.npz --out p2.safetensors --report {tmp_path}/missing/page.html")
    assert done.exit_code == 74


def test_a_refusal_is_exit_0_without_a_patch_and_removes_an_old_one(folder: Path) -> None:
    (folder / "old.safetensors").write_bytes(b"an older patch")
    done = run(folder, f"{RECALIBRATE} few.npz --out old.safetensors --json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["accepted"]) == (0, False)
    assert answer["reasons"]
    assert not (folder / "old.safetensors").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{RECALIBRATE} nan.npz --out x.safetensors --json", "frames: 3"),
        (f"{RECALIBRATE} missing.npz --out x.safetensors --json", "no such file"),
        (f"{RECALIBRATE} hazy.npz --labels --out x.safetensors --json", "no array named y"),
        (f"{RECALIBRATE} classes.npz --labels --out x.safetensors --json", "class 5000"),
        (
            "recalibrate m.onnx --baseline hazy.npz --reference hazy.npz --out x.safetensors --json",
            "baseline",
        ),
        ("profile missing.onnx --data clean.npz --out x.safetensors --json", "cannot be read"),
        ("profile clean.npz --data clean.npz --out x.safetensors --json", "not an ONNX file"),
        ("apply m.onnx --patch b.safetensors --out x.onnx --json", "kind 'baseline'"),
        ("drift float.onnx --baseline b.safetensors --reference hazy.npz --json", "the same model file"),
    ],
)
def test_bad_input_is_exit_65_with_an_error_and_no_file(folder: Path, line: str, says: str) -> None:
    done = run(folder, line)
    assert done.exit_code == 65
    assert says in done.stderr
    assert says in json.loads(done.stdout)["error"]["message"]
    assert not list(folder.glob("x.*"))
    assert not list(folder.glob(".*"))


def test_drift_says_what_the_daemon_would_say(folder: Path) -> None:
    line = "drift m.onnx --baseline b.safetensors --reference"
    drifted = run(folder, f"{line} hazy.npz").stdout
    assert re.search(
        r"score [0-9.]+ \([0-9.]+ is the alarm level\), .* verdict sensor; alarm at frame 48", drifted
    )
    healthy = json.loads(run(folder, f"{line} clean.npz --json").stdout)["monitor"]
    assert (healthy["verdict"], healthy["alarm_after_frames"]) == ("healthy", None)
    assert "48" in run(folder, f"{line} few.npz").stdout


def test_a_baseline_of_few_frames_is_noted(folder: Path) -> None:
    few = run(folder, "profile m.onnx --data few.npz --out few.safetensors --json")
    assert "4 frames" in few.stderr
    assert "4 frames" in json.loads(few.stdout)["notes"][0]
    enough = run(folder, "profile m.onnx --data clean.npz --out enough.safetensors --json")
    assert (enough.stderr, json.loads(enough.stdout)["notes"]) == ("", [])
    told = run(folder, "drift m.onnx --baseline few.safetensors --reference hazy.npz").stdout
    assert "4 frames" in told


def test_an_error_leaves_an_existing_patch_alone(folder: Path) -> None:
    (folder / "kept.safetensors").write_bytes(b"in use")
    assert run(folder, f"{RECALIBRATE} nan.npz --out kept.safetensors").exit_code == 65
    assert (folder / "kept.safetensors").read_bytes() == b"in use"


def test_a_directory_that_does_not_exist_is_said(folder: Path) -> None:
    done = CliRunner().invoke(
        cli, ["profile", str(folder / "m.onnx"), "--data", str(folder / "clean.npz"), "--out", "/nowhere/b"]
    )
    assert done.exit_code == 74
    assert "error: /nowhere/b: " in done.stderr


def test_a_place_that_cannot_be_written_is_said_before_minutes_of_work(folder: Path) -> None:
    line = "recalibrate m.onnx --baseline b.safetensors --reference missing.npz --json --out"
    done = run(folder, f"{line} nowhere/p")
    assert done.exit_code == 74
    assert "nowhere/p: cannot be written" in json.loads(done.stdout)["error"]["message"]


def test_a_disk_that_fills_up_is_said_with_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(OSError) as caught:
        atomic_file.write_atomically(tmp_path / "p", b"x")
    assert caught.value.filename == str(tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_drift_and_inspect_answer_in_json(folder: Path) -> None:
    drift = json.loads(
        run(folder, "drift m.onnx --baseline b.safetensors --reference hazy.npz --json").stdout
    )
    assert drift["taps"]["input"] > 0.3
    assert drift["shallow"] > 0
    assert drift["monitor"]["score"] > drift["monitor"]["alarm_level"] >= 1
    assert drift["monitor"]["verdict"] == "sensor"
    assert drift["monitor"]["alarm_after_frames"] == 48
    inspected = json.loads(run(folder, "inspect m.onnx --json").stdout)
    assert [tap["channels"] for tap in inspected["taps"]] == [8, 8, 16]


@pytest.mark.parametrize("option", ["--healthy-samples", "--witness"])
def test_the_number_of_samples_has_an_old_name(folder: Path, tmp_path: Path, option: str) -> None:
    out = tmp_path / "b.safetensors"
    done = run(folder, f"profile m.onnx --data clean.npz --out {out} {option} 3 --json")
    assert json.loads(done.stdout)["witness"] == 3


def test_an_option_that_is_gone_says_so(folder: Path) -> None:
    words = (
        "recalibrate m.onnx --baseline b.safetensors --reference hazy.npz --out p.safetensors --sequential"
    )
    done = run(folder, words)
    assert done.exit_code == 64
    assert "gone" in done.output


def test_no_samples_keep_no_picture(folder: Path) -> None:
    done = run(folder, "profile m.onnx --data clean.npz --out bare.safetensors --healthy-samples 0 --json")
    assert json.loads(done.stdout)["witness"] == 0
    assert (folder / "bare.safetensors").stat().st_size < (folder / "b.safetensors").stat().st_size
    assert Baseline.load(folder / "bare.safetensors").healthy_samples is None


def test_as_a_program_wrong_usage_is_64_and_help_0(folder: Path) -> None:
    for words, code in (
        (["profile"], 64),
        (["nonsense"], 64),
        (["--help"], 0),
        (["inspect", str(folder / "m.onnx")], 0),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "calibration", *words], capture_output=True, timeout=WAIT_S
        )
        assert done.returncode == code, done.stderr


def test_profile_notes_name_end_and_worth(folder: Path) -> None:
    line = "profile m.onnx --data clean.npz --out n.safetensors --name night --expires-days 30 --effective 9"
    assert run(folder, line).exit_code == 0
    shown = json.loads(run(folder, "baseline n.safetensors --json").stdout)
    assert (shown["name"], shown["effective_frames"], shown["is_expired"]) == ("night", 9.0, False)
    assert "expires" in run(folder, "baseline n.safetensors").stdout
    renewed = json.loads(run(folder, "approve n.safetensors --by anna --json").stdout)
    assert (renewed["blessed_by"], renewed["expires_wall_s"], renewed["id"]) == ("anna", None, shown["id"])
    again = json.loads(run(folder, "bless n.safetensors --by otto --json").stdout)  # the old word
    assert again["blessed_by"] == "otto"


def test_merge_pools_files_and_refuses_the_same_one_twice(folder: Path) -> None:
    np.savez(folder / "other.npz", x=pictures(24, seed=9))
    assert run(folder, "profile m.onnx --data other.npz --out o.safetensors").exit_code == 0
    done = run(folder, "merge b.safetensors o.safetensors --out pooled.safetensors --no-pictures --json")
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["frames"], shown["witness"], shown["name"]) == (0, 88, 0, "pooled")
    twice = run(folder, "merge b.safetensors b.safetensors --out x.safetensors")
    assert (twice.exit_code, (folder / "x.safetensors").exists()) == (65, False)
    assert "twice" in twice.stderr


@pytest.mark.parametrize(
    "line",
    [
        f"{RECALIBRATE} few.npz --out b.safetensors --json",
        f"{RECALIBRATE} few.npz --out m.onnx --json",
        f"{RECALIBRATE} few.npz --out twice.safetensors --report twice.safetensors --json",
        "apply m.onnx --patch gone.safetensors --out m.onnx --json",
        "merge b.safetensors gone.safetensors --out b.safetensors --json",
        "profile m.onnx --data clean.npz --out clean.npz --json",
    ],
)
def test_an_answer_never_overwrites_what_was_read_for_it(folder: Path, line: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = run(folder, line)
    assert done.exit_code == 64
    assert "given twice" in json.loads(done.stdout)["error"]["message"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_profile_refuses_frames_that_show_nothing(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "cap.npz", x=np.full((16, 3, 16, 16), 0.3, np.float32))
    line = f"profile m.onnx --data {tmp_path}/cap.npz --out {tmp_path}/cap.safetensors"
    done = run(Path("/"), line.replace("m.onnx", str(folder / "m.onnx")))
    assert done.exit_code == 65
    assert "one colour" in done.stderr
    assert not (tmp_path / "cap.safetensors").exists()


def test_profile_says_when_the_answers_cannot_be_judged_and_counts_repeated_frames(folder: Path) -> None:
    net = Net(1)
    x = net.add("Relu", [net.conv("input", "c1", 3, 4)], "r1")
    net.add("Sigmoid", [net.conv(x, "c2", 4, 1)], "mask")
    (folder / "mask.onnx").write_bytes(net.model("mask", out=("N", 1, 16, 16)))
    np.savez(folder / "looped.npz", x=np.tile(pictures(64, seed=1), (2, 1, 1, 1)))
    done = run(folder, "profile mask.onnx --data looped.npz --out mask.safetensors --json")
    answer = json.loads(done.stdout)
    assert answer["frames"] == 64
    assert "64 of 128 frames" in answer["notes"][0]
    assert "no patch is made" in answer["notes"][1]
    text = run(
        folder, "recalibrate mask.onnx --baseline mask.safetensors --reference hazy.npz --out n.safetensors"
    ).stdout
    assert "No candidate can be judged" in text
