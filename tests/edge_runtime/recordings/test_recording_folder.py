"""The folder of a recording: what is written is read again, byte for byte, and nothing else is taken for it."""

import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from edge_runtime.config.values import NAME_PATTERN
from edge_runtime.datatypes import Label
from edge_runtime.errors import RecordingError, StateError
from edge_runtime.messaging.encoding import encode_result
from edge_runtime.recordings.pictures import decode_png, encode_array, name_suffix
from edge_runtime.recordings.reader import open_recording
from edge_runtime.recordings.writer import RecordingFull, RecordingWriter
from edge_runtime.system.disk import SPARE_BYTES
from tests.support.recordings import AT, make_manifest, make_result, write_recording

MIB = 1 << 20
PICTURES = [np.full((6, 8, 3), level, np.uint8) for level in (10, 20, 30)]


def answers_to(count):
    return [orjson.loads(encode_result(make_result(seq))) for seq in range(count)]


@pytest.fixture
def folder(tmp_path):
    return write_recording(tmp_path / "recording", PICTURES, answers_to(3))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("colour", ["bgr", "rgb"])
def test_an_array_comes_back_as_it_was(dtype, channels, colour):
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 7, *channels)).astype(dtype)
    data, suffix = encode_array(picture, colour)
    found = decode_png(data, picture.shape, colour)
    assert suffix == "png"
    assert (found.dtype, found.shape) == (picture.dtype, picture.shape)
    assert (found == picture).all()


def test_a_tensor_is_an_npy_file():
    data, suffix = encode_array(np.zeros((3, 4, 4), np.float32), None)
    assert (suffix, name_suffix(data)) == ("npy", "npy")


def test_frames_and_answers_are_read_as_they_were_written(folder):
    found = open_recording(folder)
    assert found.is_whole
    assert [line.seq for line in found.frames] == [0, 1, 2]
    for line, picture in zip(found.frames, PICTURES, strict=True):
        frame = found.read_frame(line)
        assert (frame.stream, frame.colour) == ("belt", "bgr")
        assert (frame.payload == picture).all()
    assert found.answers["belt", 1].answer.top == (Label(1, "b", 0.75),)
    assert found.answers["belt", 1].infer_ms == 2.0
    assert found.read_config() == "device: box\n"


def test_only_its_user_may_read_it(folder):
    assert folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*") if path.is_file()} == {0}


def test_one_that_was_cut_off_is_read_up_to_its_last_whole_frame(tmp_path):
    folder = write_recording(tmp_path / "recording", PICTURES, answers_to(3), ends=False)
    picture = folder / "frames" / "belt" / "000000002.png"
    picture.write_bytes(picture.read_bytes()[:-5])  # the power went: its line is there, its bytes are not
    with (folder / "frames.jsonl").open("ab") as lines:
        lines.write(b'{"stream":"belt","se')
    found = open_recording(folder)
    assert not found.is_whole
    assert [line.seq for line in found.frames] == [0, 1]


def change_line(folder, name, **changes):
    path = folder / name
    first, *others = path.read_bytes().splitlines(keepends=True)
    changed = orjson.dumps({**orjson.loads(first), **changes}) + b"\n"
    path.write_bytes(b"".join([changed, *others]))


def change_text(folder, name, before, after):
    path = folder / name
    path.write_text(path.read_text().replace(before, after, 1))


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


def change_manifest(folder, **changes):
    path = folder / "recording.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda folder: (folder / "recording.json").unlink(), "recording"),
        (lambda folder: (folder / "recording.json").write_bytes(b"[1"), "recording.json"),
        (lambda folder: change_manifest(folder, version=2), "recording.json"),
        (lambda folder: change_manifest(folder, format="zip"), "recording.json"),
        (lambda folder: change_manifest(folder, cameras={"../x": "parts"}), "recording.json"),
        (lambda folder: (folder / "frames.jsonl").unlink(), "frames.jsonl"),
        (lambda folder: (folder / "frames.jsonl").write_bytes(b"{}\n"), "frames.jsonl"),
        (lambda folder: change_line(folder, "frames.jsonl", seq=1), "frames.jsonl"),
        (lambda folder: change_line(folder, "frames.jsonl", size_bytes=2**40), "frames.jsonl"),
        *[
            (lambda folder, path=path: change_line(folder, "frames.jsonl", file=path), "frames.jsonl")
            for path in (
                "/etc/passwd",
                "frames/../../x.png",
                "frames/belt/../../../x",
                "config.yaml",
                "frames//x",
            )
        ],
        (lambda folder: change_line(folder, "answers.jsonl", top=[{"label": "b"}]), "answers.jsonl"),
        (lambda folder: change_line(folder, "answers.jsonl", top=None), "answers.jsonl"),
        (lambda folder: change_text(folder, "answers.jsonl", '"index":1', '"index":1e400'), "answers.jsonl"),
        (lambda folder: change_text(folder, "answers.jsonl", "0.75", "1" + 400 * "0"), "answers.jsonl"),
        (lambda folder: change_text(folder, "frames.jsonl", '"seq":0', '"seq":1' + 40 * "0"), "frames.jsonl"),
        (lambda folder: link_to_itself(folder / "frames.jsonl"), "frames.jsonl"),
        *[
            (lambda folder, raw=raw: change_line(folder, "answers.jsonl", raw={"y": raw}), "answers.jsonl")
            for raw in (
                {"dtype": "O", "shape": [1], "data": [1]},
                {"dtype": "f4,f4", "shape": [1], "data": [1]},
                {"dtype": "float32", "shape": [9, 9], "data": [1]},
                {"dtype": "float32", "shape": [1], "data": ["x"]},
                {"dtype": "uint8", "shape": [1], "data": [300]},
                {},
            )
        ],
    ],
)
def test_a_damaged_or_hostile_one_is_refused_with_the_name_of_the_file(folder, spoil, where):
    spoil(folder)
    with pytest.raises(RecordingError) as refused:
        open_recording(folder)
    assert refused.value.path.endswith(where)
    assert refused.value.exit_code == 65


def read_first(folder):
    found = open_recording(folder)
    return found.read_frame(found.frames[0])


def test_a_picture_that_is_another_one_is_refused(folder):
    path = folder / "frames" / "belt" / "000000000.png"
    path.write_bytes((folder / "frames" / "belt" / "000000001.png").read_bytes())
    with pytest.raises(RecordingError) as refused:
        read_first(folder)
    assert refused.value.path == str(path)
    path.unlink()
    with pytest.raises(RecordingError, match=r"000000000\.png"):
        read_first(folder)


@pytest.mark.parametrize("shape", [(6, 9, 3), (60_000, 60_000, 3), (6, 8, 4), (6,), (0, 0, 3)])
def test_a_picture_of_another_size_than_its_line_says_is_refused(folder, shape):
    change_line(folder, "frames.jsonl", shape=shape)
    with pytest.raises(RecordingError, match="shape"):
        read_first(folder)


def test_a_link_that_leaves_the_folder_is_not_followed(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    path = folder / "frames" / "belt" / "000000000.png"
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(RecordingError, match="leaves the folder"):
        read_first(folder)
    link_to_itself(path)
    with pytest.raises(RecordingError, match=r"000000000\.png"):
        read_first(folder)
    (folder / "frames.jsonl").unlink()
    os.mkfifo(folder / "frames.jsonl")
    with pytest.raises(RecordingError, match=r"frames\.jsonl"):
        open_recording(folder)


@pytest.mark.parametrize("patch", ["../../../p1", "/srv/p1", "p0", "p1/../p2", ""])
def test_only_an_id_names_a_patch(folder, patch):
    with pytest.raises(RecordingError, match="p3"):
        open_recording(folder).patch_path("parts", patch)


def test_patches_and_baselines_do_not_lead_out_of_the_folder(folder, tmp_path):
    found = open_recording(folder)
    assert found.patch_path("parts", "p1") == folder / "patches" / "parts" / "p1.safetensors"
    for name in ("patches", "baselines"):
        (folder / name).symlink_to(tmp_path)
    for find in (lambda: found.patch_path("parts", "p1"), lambda: found.baseline_path("parts")):
        with pytest.raises(RecordingError, match="leaves the folder"):
            find()


def test_every_name_of_a_camera_that_a_configuration_may_have_is_one_here(tmp_path):
    writer = RecordingWriter(tmp_path / "r", make_manifest(), "", most_bytes=MIB)
    for name in ("-belt", "_", "-" * 64):
        assert re.fullmatch(NAME_PATTERN, name)
        writer.add_frame({"stream": name, "seq": 0, "captured_at": AT}, b"x", "bin")
    writer.end(AT, "as asked", 0)
    assert len(open_recording(tmp_path / "r").frames) == 3


def test_nothing_is_written_into_a_folder_that_holds_something(folder):
    before = sorted(folder.rglob("*"))
    with pytest.raises(StateError, match="not empty"):
        write_recording(folder, PICTURES)
    assert sorted(folder.rglob("*")) == before


def test_a_full_disk_ends_it_before_it_is_full(tmp_path, monkeypatch):
    writer = RecordingWriter(tmp_path / "r", make_manifest(), "", most_bytes=MIB)
    about = {"stream": "belt", "captured_at": AT}
    writer.add_frame({**about, "seq": 0}, b"x", "bin")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=SPARE_BYTES))
    with pytest.raises(RecordingFull, match="full"):
        writer.add_frame({**about, "seq": 1}, b"x", "bin")
    assert writer.end(AT, "full", 0).ended.counts.frames == 1


def test_its_pictures_have_a_limit(tmp_path):
    writer = RecordingWriter(tmp_path / "r", make_manifest(), "", most_bytes=100)
    about = {"stream": "belt", "captured_at": AT}
    writer.add_frame({**about, "seq": 0}, b"x" * 60, "bin")
    with pytest.raises(RecordingFull):
        writer.add_frame({**about, "seq": 1}, b"x" * 60, "bin")
    writer.add_answer(answers_to(1)[0])
    with pytest.raises(RecordingFull):
        writer.add_frame({**about, "seq": 2}, b"x", "bin")
    assert writer.end(AT, "full", 0).ended.counts.frames == 1
    assert [line.seq for line in open_recording(tmp_path / "r").frames] == [0]


def write_window(folder, numbers, **changed):
    about = {"stream": "pump", "seq": 0, "captured_at": AT, "colour": None, "shape": numbers.shape}
    about |= {"rate_hz": 12.5, "channels": ("x", "y"), "ended_at_s": 1e9 + 0.12345678, **changed}
    writer = RecordingWriter(folder, make_manifest(), "device: box\n", 1 << 30)
    writer.add_frame(about, *encode_array(numbers, None))
    writer.end(AT, "as asked", 0)
    return open_recording(folder)


def test_a_window_comes_back_as_it_was(tmp_path):
    numbers = np.array([[0.1, np.nan], [-0.0, 5e-324], [1e300, 2**53 + 1]])
    found = write_window(tmp_path / "r", numbers)
    frame = found.read_frame(found.frames[0])
    assert frame.payload.dtype == np.float64
    assert frame.payload.tobytes() == numbers.tobytes()
    assert (frame.captured_at_wall_s, frame.rate_hz, frame.channels) == (1e9 + 0.12345678, 12.5, ("x", "y"))


@pytest.mark.parametrize(
    ("numbers", "changed"),
    [
        (np.zeros((4, 2), np.float32), {}),
        (np.zeros((4, 2)), {"shape": (2, 4)}),
        (np.zeros((4, 2)), {"shape": None}),
        (np.zeros((4, 2, 1)), {}),
        (np.zeros((4, 2), np.uint8), {}),  # becomes a PNG
    ],
)
def test_a_window_that_is_no_such_array_is_refused(tmp_path, numbers, changed):
    found = write_window(tmp_path / "r", numbers, **changed)
    with pytest.raises(RecordingError):
        found.read_frame(found.frames[0])
