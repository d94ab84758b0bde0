"""Recordings of a daemon's end, and some made without, of the small site."""

import time

import orjson

from edge_runtime.datatypes import Label, Result, Timings
from edge_runtime.inference.postprocess.postprocessor import Answer
from edge_runtime.messaging.encoding import encode_array, encode_result
from edge_runtime.recordings.arms import open_arm
from edge_runtime.recordings.client import Recorder, Wanted, connect
from edge_runtime.recordings.manifest import Manifest, ModelNote
from edge_runtime.recordings.pictures import encode_array as encode_picture
from edge_runtime.recordings.writer import RecordingWriter
from tests.support.pipeline_bench import make_frame
from tests.support.waiting import WAIT_S

AT = "2026-11-30T14:00:00.000Z"
MIB = 1 << 20
TIMINGS = Timings(decode=0.0, prepare=1.0, queue=0.0, infer=2.0, total=3.0)


def make_manifest(**note):
    usual = {
        "bundle": "parts/1",
        "folder": "/srv/bundles/parts/1",
        "model_sha256": "0" * 64,
        "generation": "parts/1",
        "runs_on": "fake",
    }
    return Manifest(
        format="edge-runtime-recording",
        version=1,
        software="0.1.0",
        device="box",
        began_at=AT,
        cameras={"belt": "parts"},
        models={"parts": ModelNote(**{**usual, **note})},
    )


def make_result(seq, answer=None, generation="parts/1"):
    answer = answer or Answer(top=(Label(1, "b", 0.75),))
    fields = {"top": answer.top, "detections": answer.detections, "outputs": answer.outputs}
    return Result("box", "belt", seq, 1e9, "parts", generation, TIMINGS, **fields)


def write_recording(at, pictures, answers=(), *, ends=True, **note):
    """Of one camera; ``answers`` are those to the pictures, in the same order, as plain data."""
    writer = RecordingWriter(at, make_manifest(**note), "device: box\n", 1 << 30)
    for seq, picture in enumerate(pictures):
        about = {"stream": "belt", "seq": seq, "captured_at": AT, "colour": "bgr", "shape": picture.shape}
        writer.add_frame(about, *encode_picture(picture, "bgr"))
    for answer in answers:
        writer.add_answer(answer)
    if ends:
        writer.end(AT, "as asked", 0)
    return at


def record_bundle(folder, bundle, pictures, *, keeps_raw=True, patch=None):
    """A recording with the answers of a bundle, or of its patch in this file."""
    arm = open_arm(bundle.path, patch)
    answers = []
    for seq, picture in enumerate(pictures):
        answered = arm.answer(make_frame(seq, picture=picture))
        one = orjson.loads(encode_result(make_result(seq, answered.answer, str(arm.generation))))
        if keeps_raw:
            one["raw"] = {name: encode_array(name, array) for name, array in answered.outputs.items()}
        answers.append(orjson.loads(orjson.dumps(one, option=orjson.OPT_SERIALIZE_NUMPY)))
    arm.close()
    sha256 = bundle.manifest.files[bundle.manifest.model]
    return write_recording(
        folder,
        pictures,
        answers,
        bundle=bundle.id,
        generation=str(arm.generation),
        folder=str(bundle.path),
        model_sha256=sha256,
    )


def record_daemon(state_dir, out, **wanted):
    """As the command does; gives the manifest at the end."""
    asked = Wanted(**{"for_s": WAIT_S, "most_bytes": MIB, "frames": 20, **wanted})
    with connect(state_dir, asked) as (link, begun, config_text):
        writer = RecordingWriter(out, begun, config_text, asked.most_bytes)
        recorder = Recorder(
            link, writer, begun, asked, time.monotonic, time.time, lambda *_: None, lambda *_: None
        )
        return recorder.end(recorder.take())
