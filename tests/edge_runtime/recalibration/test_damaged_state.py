"""Each file of a model's state, damaged in many ways: a start survives whatever the opening functions raise."""

import contextlib
import json
import random
import zlib

import cv2
import numpy as np
import orjson
import pytest

from calibration.baseline.baseline import Baseline
from calibration.errors import BaselineError
from calibration.stats import tensor_file
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.reports import Reports
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.errors import StateError
from edge_runtime.recalibration.baselines.store import BaselineStore, InUse
from edge_runtime.recalibration.reference.reservoir import InputMoments, Kept
from edge_runtime.recalibration.reference.reservoir_store import ReservoirStore
from tests.support.bundle_models import png
from tests.support.controller_bench import IDENTITY, a_baseline

BUNDLE = "parts/1"
ODD = [
    None, True, -1, 0, 1.5, 10**30, -(10**30), 2**63, "x", "", "p1", "../x", "\0",
    [], [[]], [None], {}, {"a": {}}, "9" * 5000,
    float("inf"), float("-inf"), float("nan"),
]  # fmt: skip


def mutants(data, count, seed=0):
    """Bytes flipped, cut, doubled, zeroed; the same each time."""
    rng = random.Random(seed)
    yield b""
    yield data[: len(data) // 2]
    yield b"\0" * len(data)
    yield data + data
    yield b"\xff" * 64
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 8])):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if rng.random() < 0.3:
            start = rng.randrange(len(changed))
            del changed[start : start + rng.randrange(1, 40)]
        yield bytes(changed)


def odd_values(value):
    """The JSON value with each part in turn replaced by something odd, or left out."""
    yield from ODD
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {name: one for name, one in value.items() if name != key}
            for odd in odd_values(inner):
                yield {**value, key: odd}
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            for odd in odd_values(inner):
                yield [*value[:at], odd, *value[at + 1 :]]


@pytest.fixture
def state(tmp_path):
    state = ModelState.open(tmp_path, "parts")
    patch = state.patches / "p1"
    patch.mkdir()
    (patch / "report.json").write_bytes(
        orjson.dumps(
            {
                "at": 5.0,
                "cause": "drift alarm",
                "baseline_id": "x",
                "model_sha256": "0" * 64,
                "accepted": True,
            }
        )
    )
    (patch / "model.onnx").write_bytes(b"model")
    state.record(Rollout(Generation(BUNDLE, "p1"), previous=Generation(BUNDLE)))
    BaselineStore(state.baselines).put(a_baseline())
    BaselineStore(state.baselines).note_in_use(InUse("default", {"id": "p1"}))
    state.record_slots((1.0, 2.0))
    return state


def read_rollout(state):
    try:
        return state.load_rollout(BUNDLE)
    except StateError:
        return "damaged"


NOTES = {
    "active.json": read_rollout,
    "patches/p1/report.json": lambda state: (
        state.read_cause("p1"),
        Reports(state.folder).read_figures("p1"),
    ),
    "baselines/in-use.json": lambda state: BaselineStore(state.baselines).read_in_use(),
    "schedule.json": ModelState.load_slots,
}


def read_others(state, name):
    """What all notes but this one say; a patch without its report is none, so the active one needs both."""
    needs = {"active.json", "patches/p1/report.json"}
    left_out = {name} if (state.folder / name).is_file() else needs if name in needs else {name}
    return {one: read(state) for one, read in NOTES.items() if one not in left_out}


def open_all(state):
    """What a start reads of a model's notes."""
    with contextlib.suppress(StateError):
        state.load_rollout(BUNDLE)
    with contextlib.suppress(StateError):
        state.read_patched("p1")
    state.read_cause("p1")
    state.read_baseline_id("p1")
    state.load_slots()
    state.read_last_version()
    BaselineStore(state.baselines).read_in_use()
    reports = Reports(state.folder)
    for report_id in reports.list_ids():
        reports.read_figures(report_id)
        reports.read_page(report_id)


@pytest.mark.parametrize("name", NOTES)
def test_a_damaged_note_costs_what_it_holds(state, name):
    path = state.folder / name
    whole = path.read_bytes()
    texts = [json.dumps(odd).encode() for odd in odd_values(json.loads(whole))]
    others = read_others(state, name)
    assert len(others) == 3
    assert "damaged" not in others.values()
    for damaged in [*mutants(whole, 150), *texts]:
        path.write_bytes(damaged)
        open_all(state)
        assert read_others(state, name) == others
    path.unlink()
    open_all(state)
    assert read_others(state, name).items() <= others.items()
    path.mkdir()
    open_all(state)
    assert read_others(state, name).items() <= others.items()


def test_a_damaged_baseline_is_named_and_the_others_stay(state):
    store = BaselineStore(state.baselines)
    store.put(a_baseline(1).rename("night"))
    whole = store.path("default").read_bytes()
    arrays, header = tensor_file.read("baseline", store.path("default"))
    kind = header.pop("kind")
    named = 0
    encoded = [tensor_file.encode(kind, arrays, odd) for odd in odd_values(header) if isinstance(odd, dict)]
    for damaged in [*mutants(whole, 100), *encoded]:
        store.path("default").write_bytes(damaged)
        usable, *others = store.load(IDENTITY)
        problems = {name for known in others for name in known}
        assert "night" in usable
        assert set(usable) | set(problems) == {"default", "night"}
        named += "default" in problems
    assert named > 100


@pytest.mark.parametrize(
    "field", ["input_shape", "taps", "count", "effective_count", "created_wall_s", "facts"]
)
@pytest.mark.parametrize("number", [float("inf"), float("nan"), -float("inf"), 10**400, 1e308])
def test_a_number_that_cannot_be_is_a_baseline_error(tmp_path, field, number):
    (tmp_path / "x.safetensors").write_bytes(a_baseline().to_bytes())
    arrays, header = tensor_file.read("baseline", tmp_path / "x.safetensors")
    kind = header.pop("kind")
    values = {
        "input_shape": [number, 4, 4], "taps": [["input", number, 1.0]], "facts": {"sample_period_s": number * 10},
    }  # fmt: skip
    data = tensor_file.encode(kind, arrays, {**header, field: values.get(field, number)})
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(BaselineError):
        Baseline.load(tmp_path / "x.safetensors")


def with_size(data, width, height):
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
PICTURES = {
    "60,000 x 60,000": with_size(png(PIXELS), 60_000, 60_000),
    "4 giga x 1": with_size(png(PIXELS), 2**32 - 1, 1),
    "no width": with_size(png(PIXELS), 0, 8),
    "larger than it is": with_size(png(PIXELS), 4000, 4000),
    "another size": png(PIXELS[:4]),
    "one channel": png(PIXELS[..., 0]),
    "16 bit": png(PIXELS.astype(np.uint16)),
    "a JPEG": cv2.imencode(".jpg", PIXELS)[1].tobytes(),
    "half": png(PIXELS)[:60],
    "a signature": png(PIXELS)[:8],
    "empty": b"",
    "text": b"no picture",
}


def put(folder, seq, data, suffix="png"):
    (folder / f"{1000 + seq}.{seq}.0.{zlib.crc32(data):08x}.belt.{suffix}").write_bytes(data)


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_of_the_reservoir_that_cannot_be_is_counted_and_the_others_stay(tmp_path, picture):
    folder = tmp_path / BUNDLE
    folder.mkdir(parents=True)
    for seq in range(3):
        put(folder, seq, png(PIXELS))
    put(folder, 9, PICTURES[picture])
    kept, dropped = ReservoirStore(tmp_path, BUNDLE).open(10.0, 10.0, 1e6, with_pictures=True)
    if picture == "larger than it is":  # the decoder fills up
        assert len(kept) in (3, 4)
        return
    assert [one.seq for one in kept] == [0, 1, 2]
    assert dropped == {"damaged": 1}


def test_moments_of_the_reservoir_that_cannot_be_are_counted(tmp_path):
    folder = tmp_path / BUNDLE
    folder.mkdir(parents=True)
    good = {"mean": [0.5, 0.5], "var": [1.0, 1.0]}
    damaged = [
        data
        for odd in odd_values(good)
        if (data := json.dumps(odd).encode()) and json.loads(data) != good and _is_odd(odd)
    ]
    for seq, data in enumerate([orjson.dumps(good)] * 3 + damaged):
        put(folder, seq, data, "json")
    kept, dropped = ReservoirStore(tmp_path, BUNDLE).open(10.0, 10.0, 1e6, with_pictures=False)
    assert [one.seq for one in kept] == [0, 1, 2]
    assert dropped == {"damaged": len(damaged)}


def _is_odd(value):
    """Not two equally long lists of sound numbers."""
    try:
        mean, var = value["mean"], value["var"]
        numbers = [float(one) for one in [*mean, *var]]
        return not (len(mean) == len(var) == 2 and all(np.isfinite(numbers)) and min(map(float, var)) >= 0)
    except (TypeError, ValueError, KeyError, OverflowError):
        return True


def test_a_sample_that_was_kept_comes_back(tmp_path):
    store = ReservoirStore(tmp_path, BUNDLE)
    store.open(0.0, 100.0, 1e6, with_pictures=False)
    store.save(Kept("belt", 1, 0, 0.0, 100.0, None, InputMoments((0.5,), (0.0,))))
    kept, dropped = ReservoirStore(tmp_path, BUNDLE).open(0.0, 100.0, 1e6, with_pictures=False)
    assert (len(kept), dropped) == (1, {})
