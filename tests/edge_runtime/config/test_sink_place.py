"""The local file of results may not be the file of another part: it is appended to, cut and renamed."""

import os

import pytest

from edge_runtime.cli.check import check_config
from edge_runtime.config import load_config
from edge_runtime.errors import ConfigError

RESULT = b'{"topic":"edge/box/result/belt","payload":{"seq":1}}\n'
TEXT = """\
device: box
state_dir: state
models: {{m: {{bundle: ./bundle}}}}
cameras:
  belt: {{path: ./pictures, model: m, watch: true}}
  deep: {{path: ./deep, model: m, watch: true, subfolders: true}}
  clip: {{path: ./clips/belt.mp4, model: m}}
mqtt: {{host: broker.example, user: u, password_file: password}}
recalibration: {{reference: {{folder: ./reference, sets: {{night: ./night}}}}}}
sink: {{path: {path}}}
"""


@pytest.fixture
def box(tmp_path):
    for name in (
        "pictures",
        "pictures/out",
        "deep/a/b",
        "clips",
        "reference/good",
        "night",
        "bundle/1",
        "state/streams",
    ):
        (tmp_path / name).mkdir(parents=True)
    for name in ("clips/belt.mp4", "pictures/0.png", "notes.txt", "half.bin"):
        (tmp_path / name).write_bytes(b"\x89PNG something else\n")
    (tmp_path / "password").write_text("secret")
    (tmp_path / "rotated.jsonl.2").write_text("a diary")
    os.link(tmp_path / "clips/belt.mp4", tmp_path / "hard.jsonl")
    (tmp_path / "soft.jsonl").symlink_to("box.yaml")
    (tmp_path / "linked").symlink_to("pictures")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def write(box, path):
    (box / "box.yaml").write_text(TEXT.format(path=path))
    return box / "box.yaml"


NOT_OURS = {
    "box.yaml": "this configuration",
    "./state/../box.yaml": "this configuration",
    "soft.jsonl": "this configuration",
    "password": "a secret",
    "pictures": "camera 'belt'",
    "pictures/0.png": "camera 'belt'",
    "pictures/results.jsonl": "camera 'belt'",
    "linked/results.jsonl": "camera 'belt'",
    "deep/a/b/results.jsonl": "camera 'deep'",
    "clips/belt.mp4": "camera 'clip'",
    "hard.jsonl": "camera 'clip'",
    "bundle/1/model.onnx": "bundle of model 'm'",
    "reference/good/x.jsonl": "recalibration.reference",
    "night/x.jsonl": "recalibration.reference",
    "state": "state",
    "state/outbox-file.db": "state",
    "state/outbox.db-wal": "state",
    "state/lock": "state",
    "state/commands.used": "state",
    "state/streams/belt.answered": "state",
    "state/models/m/active.json": "state",
    "state/cache/x": "state",
    "notes.txt": "does not hold results",
    "half.bin": "does not hold results",
    "rotated.jsonl": "does not hold results",
    "clips": "a folder",
    "pipe": "a pipe or a device",
    "/dev/null": "a pipe or a device",
    "notes.txt/results.jsonl": "is a file",
}


@pytest.mark.parametrize("path", NOT_OURS)
def test_a_place_that_is_not_free_is_refused_by_check_and_start(box, path):
    config = write(box, path)
    before = {file: file.read_bytes() for file in box.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError) as caught:
        load_config(config, {})
    [problem] = caught.value.problems
    assert problem.where == "sink.path"
    assert problem.line == 10
    assert NOT_OURS[path] in problem.found
    assert check_config(config, {}).exit_code == 78
    assert {file: file.read_bytes() for file in box.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("new.jsonl", None),
        ("new/folder/results.jsonl", None),
        ("state/results.jsonl", None),
        ("state/results/results.jsonl", None),
        ("clips/results.jsonl", None),
        ("pictures/out/results.jsonl", None),
        ("old.jsonl", RESULT * 3),
        ("old.jsonl", RESULT + RESULT[:20]),
        ("old.jsonl", RESULT[:5]),
        ("old.jsonl", b""),
        ("old.jsonl", bytes(5000)),
        ("old.jsonl", b'{"topic": "by hand", "payload": 1}\n'),
    ],
)
def test_a_new_place_or_one_with_results_is_taken(box, path, content):
    if content is not None:
        (box / path).write_bytes(content)
    assert load_config(write(box, path), {}).sink_path() == box / path
