"""Commands that take files answer, check and calibrate models of signals as they do those of pictures."""

import json
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.bench.inputs import write_inputs
from tests.support.command_line import run_command
from tests.support.signal_bundles import CHANNELS, LABELS, build_signal_bundle, machine_windows

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return str(build_signal_bundle(tmp_path_factory.mktemp("bundle"), healthy=32))


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """One window of each class: an array file, a table, a document, and a record of two."""
    folder = tmp_path_factory.mktemp("windows")
    first, second, third, fourth = machine_windows(4, seed=12)
    np.save(folder / "0.npy", first)
    np.savetxt(folder / "1.csv", second, delimiter=",", header=",".join(CHANNELS), comments="")
    columns = dict(zip(CHANNELS, third.T.tolist(), strict=True))
    (folder / "2.json").write_text(json.dumps(columns))
    np.save(folder / "3.npy", np.concatenate([fourth, fourth]))
    return folder


def answers_of(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_windows_of_every_kind_of_file_are_answered(bundle, windows):
    code, written = run_command("infer", bundle, str(windows), "--json")
    answers = answers_of(written)
    assert code == 0
    assert [one["top"][0]["label"] for one in answers] == [*LABELS, LABELS[-1]]
    assert [one.get("from_s") for one in answers] == [None, None, None, 0.0, 2.56]


def test_a_window_that_is_too_short_is_rejected(bundle, tmp_path):
    np.save(tmp_path / "short.npy", machine_windows(1, length=100)[0])
    code, written = run_command("infer", bundle, str(tmp_path / "short.npy"), "--json")
    assert code == 65
    assert answers_of(written)[0]["rejected"] == "bad_shape"


def test_a_folder_without_windows_is_a_usage_error(bundle, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    assert run_command("infer", bundle, str(tmp_path))[0] == 64


def test_verify_and_inspect_tell_of_windows(bundle):
    code, written = run_command("bundle", "verify", bundle, "--json")
    assert (code, answers_of(written)[0]["windows"]) == (0, 4)
    code, written = run_command("bundle", "inspect", bundle, "--json")
    told = json.loads(written)["manifest"]["preprocess"]
    assert code == 0
    assert [one["name"] for one in told["channels"]] == list(CHANNELS)
    assert {"rate_hz", "length", "missing", "payload"} <= told.keys()
    code, written = run_command("bundle", "inspect", bundle)
    assert code == 0
    assert set(CHANNELS) <= {line.split()[0] for line in written.splitlines() if line.startswith("  ")}


def test_calibrate_makes_a_patch_from_folders_of_windows(bundle, tmp_path):
    for name, seed, gain in (("healthy", 21, 1.0), ("now", 22, 1.7)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "day.npy", np.concatenate(machine_windows(96, seed)) * gain + gain - 1)
    patch = tmp_path / "patch.safetensors"
    folders = ("--healthy", tmp_path / "healthy", "--reference", tmp_path / "now")
    code, _ = run_command("calibrate", bundle, *folders, "--out", patch)
    assert code == 0
    assert patch.exists()


def test_bench_measures_a_daemon_on_golden_windows(bundle):
    words = ("--seconds", "1", "--rounds", "1", "--fps", "20", "--threads", "latency", "--json")
    code, written = run_command("bench", bundle, *words)
    assert code == 0
    report = json.loads(written)
    assert report["inputs"].startswith("4 golden windows")
    assert report["summary"]["daemon"]["frames_per_s"] > report["summary"]["daemon paced"]["frames_per_s"]
    assert 5 < report["summary"]["daemon paced"]["frames_per_s"] < 25


def test_bench_cuts_records_of_a_folder_into_windows(bundle, windows, tmp_path):
    written = write_inputs(load_bundle(Path(bundle)), windows, (1, 1), tmp_path)
    assert [np.load(path).shape for path in written] == [(256, 3)] * 5


def test_bench_refuses_a_folder_with_shorter_windows_only(bundle, tmp_path):
    np.save(tmp_path / "short.npy", machine_windows(1, length=100)[0])
    assert run_command("bench", bundle, "--inputs", str(tmp_path))[0] == 65
