"""Windows become samples exactly as their bundle says."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from edge_runtime.datatypes import Flaw, Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.preprocess.input_files import list_frames
from edge_runtime.inference.specs import read_preprocess

CHANNELS = [{"name": "ax", "unit": "g", "scale": 0.5, "offset": 1.0, "mean": 2.0, "std": 4.0}, {"name": "ay"}]


def spec(**more):
    return read_preprocess({"kind": "signal", "channels": CHANNELS, "length": 4, **more})


def prepare(payload, the_spec=None, *, is_tensor=False):
    frame = Frame("pump", 3, payload, 1.0, 2.0, None, is_tensor)
    return make_preprocessor(the_spec or spec()).prepare(frame)


def numbers(*columns):
    return np.array(columns, np.float64).T


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_values_have_their_unit_and_tensors_are_normalised():
    sample = prepare(numbers([2, 4, 6, 8], [1, 2, 3, 4]))
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.values, np.array([[2, 3, 4, 5], [1, 2, 3, 4]], np.float32))
    np.testing.assert_array_equal(sample.tensor, np.array([[0, 0.25, 0.5, 0.75], [1, 2, 3, 4]], np.float32))
    assert (sample.filled, sample.geometry, sample.tensor.dtype) == (0.0, None, np.float32)


@pytest.mark.parametrize(("layout", "shape"), [("nct", (2, 4)), ("ntc", (4, 2))])
def test_the_tensor_has_the_layout_of_the_model(layout, shape):
    preprocessor = make_preprocessor(spec(layout=layout))
    sample = preprocessor.prepare(Frame("pump", 0, numbers([2, 4, 6, 8], [1, 2, 3, 4]), 0.0, 0.0))
    assert isinstance(sample, Sample)
    assert sample.tensor.shape == shape == preprocessor.spec.tensor_shape
    np.testing.assert_array_equal(preprocessor.normalise(sample.values), sample.tensor)


def test_a_feature_vector_has_no_axis_for_samples():
    sample = prepare(numbers([2], [7]), spec(length=1, layout="nf"))
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.tensor, np.array([0, 7], np.float32))


@pytest.mark.parametrize(
    ("fill", "expected"),
    [("hold", [2, 2, 4, 5]), ("linear", [2, 3, 4, 5]), ("mean", [2, 2, 4, 5]), ("zero", [2, 0, 4, 5])],
)
def test_missing_values_are_filled_by_the_rule_and_counted(fill, expected):
    sample = prepare(numbers([2, np.nan, 6, 8], [1, 2, 3, 4]), spec(missing={"fill": fill, "most": 0.25}))
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.values[0], np.array(expected, np.float32))
    assert sample.filled == 1 / 8


def test_sentinels_are_missing_values():
    sample = prepare(
        numbers([2, -9999, 6, 8], [1, 2, 3, 4]), spec(missing={"most": 0.25, "sentinels": [-9999]})
    )
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.values[0], np.array([2, 3, 4, 5], np.float32))


def test_sentinels_are_known_in_payloads_of_float32():
    message = np.array([[2, 1], [-9999.9, 2], [6, 3], [8, 4]], "<f4").tobytes()
    missing = {"most": 0.25, "sentinels": [-9999.9, 1e300]}
    sample = prepare(message, spec(missing=missing, payload={"format": "raw"}))
    assert isinstance(sample, Sample)
    assert sample.filled == 1 / 8


def test_values_outside_of_the_range_of_the_sensor_are_missing():
    channels = [{"name": "ax", "low": -16, "high": 16}]
    sample = prepare(numbers([1, 99, 3, 4]), spec(channels=channels, missing={"most": 0.25}))
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.values[0], np.array([1, 2, 3, 4], np.float32))
    assert sample.filled == 0.25


@pytest.mark.parametrize(
    ("window", "missing", "reason"),
    [
        (numbers([2, np.nan, np.nan, 8], [1, 2, 3, 4]), {"most": 0.25}, RejectReason.MISSING_VALUES),
        (numbers([2, np.nan, 6, 8], [1, 2, 3, 4]), {"fill": "refuse"}, RejectReason.MISSING_VALUES),
        (numbers([np.nan] * 4, [1, 2, 3, 4]), {"most": 0.99}, RejectReason.MISSING_VALUES),
        (numbers([2, 4, 6], [1, 2, 3]), {}, RejectReason.BAD_SHAPE),
        (numbers([2, 4, 6, 8]), {}, RejectReason.BAD_SHAPE),
        (numbers([2, 4, 6, 1e300], [1, 2, 3, 4]), {}, RejectReason.NON_FINITE),
        (numbers([2, 4, 6, 8], [1, -2e9, 3, 4]), {}, RejectReason.NON_FINITE),
    ],
)
def test_a_window_that_cannot_be_used_is_refused_with_its_reason(window, missing, reason):
    answer = prepare(window, spec(missing=missing))
    assert isinstance(answer, Rejected)
    assert answer.reason is reason


def test_a_mistake_of_a_source_is_noted_as_one_of_preparing_is():
    noted = []
    preprocessor = make_preprocessor(spec(), note_failure=noted.append)
    mistake = ZeroDivisionError("a bug")
    for error, reason in ((None, RejectReason.BAD_TIME), (mistake, RejectReason.UNREADABLE)):
        frame = Frame("pump", 3, b"", 1.0, 2.0, None, flaw=Flaw(reason, "why", error))
        refused = preprocessor.prepare(frame)
        assert isinstance(refused, Rejected)
        assert refused.reason is reason
    assert noted == [mistake]


def test_a_channel_whose_range_says_so_has_larger_values():
    sample = prepare(numbers([2.4e9] * 4), spec(channels=[{"name": "f", "unit": "Hz", "high": 6e9}]))
    assert isinstance(sample, Sample)
    assert sample.values[0, 0] == np.float32(2.4e9)
    channels = [{"name": "f", "high": 1e308, "std": 1e10}]
    assert isinstance(prepare(numbers([1e300] * 4), spec(channels=channels)), Rejected)


def test_a_window_that_was_made_for_other_channels_is_refused():
    frame = Frame("pump", 3, numbers([2, 4, 6, 8], [1, 2, 3, 4]), 1.0, 2.0, None, channels=("ay", "ax"))
    refused = make_preprocessor(spec()).prepare(frame)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.BAD_SHAPE
    assert isinstance(make_preprocessor(spec()).prepare(replace(frame, channels=("ax", "ay"))), Sample)


def test_another_rate_is_resampled_without_edges():
    at_s = np.arange(400) / 100
    wave = 9.8 + np.sin(2 * np.pi * 3 * at_s)
    two = spec(length=200, rate_hz=50, payload={"rate_hz": 100}, channels=[{"name": "a"}])
    sample = prepare(wave[:, None], two)
    assert isinstance(sample, Sample)
    assert sample.values.shape == (1, 200)
    assert float(np.abs(sample.values[0] - wave[::2]).max()) < 0.05


def test_what_the_model_could_not_see_is_no_alias_after_resampling():
    at_s = np.arange(400) / 100
    fast = np.sin(2 * np.pi * 40 * at_s)  # above half of 50 Hz
    sample = prepare(
        fast[:, None], spec(length=200, rate_hz=50, payload={"rate_hz": 100}, channels=[{"name": "a"}])
    )
    assert isinstance(sample, Sample)
    assert float(sample.values[0, 20:-20].std()) < 0.02


def test_an_array_file_is_a_window():
    array = numbers([2, 4, 6, 8], [1, 2, 3, 4])
    sample = prepare(npy(array), spec(payload={"format": "npy"}))
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.tensor, prepare(array).tensor)


@pytest.mark.parametrize("mistake", [None, ZeroDivisionError("a bug")])
def test_a_file_that_cannot_be_read_is_one_frame_that_is_refused(tmp_path, monkeypatch, mistake):
    def fail(*_):
        raise mistake

    noted = []
    if mistake is not None:
        monkeypatch.setattr("edge_runtime.inference.preprocess.input_files.read_windows", fail)
    preprocessor = make_preprocessor(spec(), note_failure=noted.append)
    [frame] = list_frames(tmp_path / "missing.csv", preprocessor)
    refused = preprocessor.prepare(frame)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.UNREADABLE
    assert noted == ([] if mistake is None else [mistake])


def test_a_prepared_tensor_is_checked_only():
    tensor = np.ones((1, 2, 4), np.float32)
    sample = prepare(tensor, is_tensor=True)
    assert isinstance(sample, Sample)
    assert (sample.values, sample.tensor.shape) == (None, (2, 4))
    tensor[0, 0, 0] = np.nan
    assert prepare(tensor, is_tensor=True).reason is RejectReason.NON_FINITE
    assert prepare(np.ones((4, 2), np.float32), is_tensor=True).reason is RejectReason.BAD_SHAPE
    assert prepare(np.ones((2, 4), np.int16), is_tensor=True).reason is RejectReason.BAD_DTYPE


@pytest.mark.parametrize("rate_hz", [5_000, 10_000, 12_800, 20_000, 25_600, 48_000])
def test_late_samples_of_more_than_can_be_kept_are_refused_with_the_limit(rate_hz):
    with pytest.raises(ValidationError) as refused:
        spec(rate_hz=rate_hz, late_s=3600)
    limit = float(re.search(r"make late_s ([0-9.e+]+) or less", str(refused.value))[1])
    assert spec(rate_hz=rate_hz, late_s=limit).late_slots > 0
    with pytest.raises(ValidationError):
        spec(rate_hz=rate_hz, late_s=limit * 1.02)


def test_durations_are_samples_at_the_rate_of_the_model():
    found = spec(length="2 s", hop="0.5s", rate_hz=100)
    assert (found.length, found.hop) == (200, 50)
    assert spec().hop == 4


@pytest.mark.parametrize("sentinel", [-999.9, 3.4028234e38, 1e300])
def test_a_sentinel_is_found_in_numbers_of_float32_too(sentinel):
    with np.errstate(over="ignore"):
        sent = numbers([2, np.float32(sentinel), 6, 8], [1, 2, 3, 4])
    the_spec = spec(missing={"most": 0.25, "sentinels": [sentinel]})
    sample = prepare(sent, the_spec)
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.values[0], np.array([2, 3, 4, 5], np.float32))


@pytest.mark.parametrize(
    "changes",
    [
        {"length": "9" * 400 + " s"},
        {"length": "2 s", "rate_hz": float("inf")},
        {"length": "2 s", "rate_hz": 10**400},
        {"length": "0 s"},
        {"hop": "9" * 400 + " s"},
        {"rate_hz": 5e-324, "payload": {"rate_hz": 1e7}},
        {"length": 1 << 23, "rate_hz": 1e7, "payload": {"rate_hz": 1.0}},  # a filter of gigabytes
        {"channels": [{"name": "a", "std": 1e-300}]},  # prepared values would be infinite
        {"channels": [{"name": "a", "mean": 1e308}]},
        {"channels": [{"name": "a\0b"}]},
        {"channels": [{"name": "a "}]},  # no column of csv is ever called so
        {"channels": [{"name": "a", "unit": "\n"}]},
        {"payload": {"time": " "}},
        *({"payload": {"format": "csv", "delimiter": one}} for one in '\n\r\0"#1-e'),
    ],
)
def test_keys_at_their_extremes_are_refused_when_they_are_read(changes):
    with pytest.raises(ValidationError):
        spec(**changes)


def test_the_least_window_and_the_largest_rates_are_taken():
    small = spec(rate_hz=1e-6, length="1000000 s")
    assert (small.length, small.hop) == (1, 1)
    assert spec(rate_hz=1e7, length=1024, payload={"rate_hz": 1e4}).input_length == 1


@pytest.mark.parametrize(
    ("kind", "where"), [("sound", "kind"), ([1], "kind"), (None, "width"), ("picture", "width")]
)
def test_another_kind_of_input_is_named(kind, where):
    with pytest.raises(ValidationError) as err:
        read_preprocess({"kind": kind})
    assert where in {problem["loc"][-1] for problem in err.value.errors()}


def test_a_wrong_length_is_one_problem():
    with pytest.raises(ValidationError) as err:
        spec(length="long")
    assert [problem["loc"][-1] for problem in err.value.errors()] == ["length"]


def test_how_samples_come_is_no_part_of_the_preparation():
    usual = spec().preparation
    assert spec(late_s=2.0, hop=2, payload={"format": "csv", "time": "t"}).preparation == usual
    assert spec(missing={"fill": "zero"}).preparation != usual


@pytest.mark.parametrize("names", [{"az": "z"}, {"ax": "ay"}])
def test_fields_of_channels_that_are_none_or_shared_are_refused(names):
    with pytest.raises(ValueError, match=r"payload\.names"):
        spec(payload={"names": names})
