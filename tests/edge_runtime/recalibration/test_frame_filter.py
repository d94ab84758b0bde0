import numpy as np
import pytest

from edge_runtime.recalibration.reference.frame_filter import EXPOSURE_LEAST, NEAR_INTERVALS, FrameFilter


def noise(seed, side=64):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def scene(seed=0, side=64, sensor_noise=0.0, noise_seed=0):
    """Smooth structure, as a lens gives it."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 230, (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
    noisy = coarse + np.random.default_rng(noise_seed).normal(0, sensor_noise, coarse.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def white_with(objects):
    """A white picture with small black objects."""
    picture = np.full((128, 128, 3), 255, np.uint8)
    for i in range(objects):
        row, column = 8 + 16 * (i // 7), 8 + 16 * (i % 7)
        picture[row : row + 4, column : column + 4] = 0
    return picture


def test_a_lens_cap_is_flat_for_all_its_noise():
    dark = np.random.default_rng(0).normal(12, 2.5, (224, 224, 3))
    assert FrameFilter(1.0).find_flaw("a", np.clip(dark, 0, 255).astype(np.uint8), 0.0) == "flat"


def test_fine_texture_is_content():
    cloth = np.full((224, 224, 3), 120, np.uint8)
    cloth[::4, ::4] = 180
    assert FrameFilter(1.0).find_flaw("cloth", cloth, 0.0) is None


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_without_content_is_flat(level):
    frame_filter = FrameFilter(1.0)
    assert frame_filter.find_flaw("a", np.full((32, 32, 3), level, np.uint8), 0.0) == "flat"
    assert frame_filter.refused == {"flat": 1}


def test_a_frozen_camera_is_noticed_however_long_it_lasts():
    frame_filter = FrameFilter(1.0)
    assert frame_filter.find_flaw("a", noise(0), 0.0) is None
    assert [frame_filter.find_flaw("a", noise(0), at_s) for at_s in (1.0, 1e6)] == ["frozen", "frozen"]


def test_each_stream_is_looked_at_for_itself():
    frame_filter = FrameFilter(1.0)
    assert [frame_filter.find_flaw(stream, noise(0), 0.0) for stream in "ab"] == [None, None]


def test_near_copies_are_thinned_and_a_still_scene_fills_the_reservoir_all_the_same():
    frame_filter = FrameFilter(1.0)
    kept = [at_s for at_s in range(60) if frame_filter.find_flaw("a", scene(0, 224, 6.0, at_s), at_s) is None]
    assert kept == list(range(0, 60, int(NEAR_INTERVALS)))
    assert frame_filter.refused == {"near_duplicate": 60 - len(kept)}


def test_a_small_thing_that_moves_makes_another_picture():
    frame_filter = FrameFilter(1.0)
    pictures = [scene() for _ in range(5)]
    for i, picture in enumerate(pictures):
        picture[20 * (i // 3) : 20 * (i // 3) + 8, 12 * i : 12 * i + 8] = 255 * (i % 2)
    assert [frame_filter.find_flaw("a", picture, at_s) for at_s, picture in enumerate(pictures)] == [None] * 5


@pytest.mark.parametrize("change", [lambda x: 0.8 * x, lambda x: x + 25], ids=["darker", "brighter"])
def test_the_same_scene_under_another_light_is_no_copy(change):
    frame_filter = FrameFilter(1.0)
    assert frame_filter.find_flaw("a", scene(), 0.0) is None
    assert (
        frame_filter.find_flaw("a", np.clip(change(scene().astype(float)), 0, 255).astype(np.uint8), 1.0)
        is None
    )


def test_a_burnt_out_picture_is_refused_where_others_are_well_exposed():
    frame_filter = FrameFilter(1.0)
    found = [frame_filter.find_flaw("a", white_with(3) if i == 10 else noise(i), i) for i in range(20)]
    assert [flaw for flaw in found if flaw] == ["overexposed"]
    assert frame_filter.find_flaw("a", 255 - white_with(3), 30.0) == "underexposed"


def test_a_site_that_is_always_burnt_out_is_not_kept_from_its_reservoir():
    frame_filter = FrameFilter(1.0)
    pictures = [np.roll(white_with(3), 16 * i, axis=0) for i in range(20)]
    found = [frame_filter.find_flaw("back light", picture, i) for i, picture in enumerate(pictures)]
    assert found == ["overexposed"] * (EXPOSURE_LEAST - 1) + [None] * (21 - EXPOSURE_LEAST)


def test_print_on_white_and_a_strong_but_readable_exposure_are_no_flaw():
    frame_filter = FrameFilter(1.0)
    assert frame_filter.find_flaw("print", white_with(49), 0.0) is None
    bright = np.clip(2.5 * scene().astype(float), 0, 255).astype(np.uint8)
    assert frame_filter.find_flaw("bright", bright, 0.0) is None


def test_after_forgetting_the_same_picture_is_new():
    frame_filter = FrameFilter(1.0)
    assert frame_filter.find_flaw("a", noise(0), 0.0) is None
    frame_filter.forget()
    assert frame_filter.find_flaw("a", noise(0), 1.0) is None


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 1), (480, 40, 3), (900, 1200, 3)])
def test_takes_pictures_of_any_shape(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert FrameFilter(1.0).find_flaw("a", picture, 0.0) == ("flat" if shape == (1, 1, 3) else None)


def test_a_picture_of_another_shape_is_compared_with_nothing():
    frame_filter = FrameFilter(1.0)
    assert frame_filter.find_flaw("a", noise(0, 64), 0.0) is None
    assert frame_filter.find_flaw("a", noise(0, 8), 0.1) is None


def pieces(signal, length, hop, first=0):
    """Windows (1, length) of a signal with the numbers of their samples."""
    begins = range(first, len(signal) - length + 1, hop)
    return [(signal[None, at : at + length], range(at, at + length)) for at in begins]


def test_of_windows_that_overlap_those_are_kept_that_share_no_sample():
    frame_filter, signal = FrameFilter(1.0), np.random.default_rng(0).normal(size=1000).astype(np.float32)
    kept = [slots.start for window, slots in pieces(signal, 100, 10)
            if frame_filter.find_flaw("pump", window, 0.0, slots) is None]  # fmt: skip
    assert kept == list(range(0, 1000, 100))
    assert frame_filter.refused == {"overlapping": 81}


def test_windows_are_compared_with_those_of_their_stream_that_were_kept_and_not_forgotten():
    frame_filter, signal = FrameFilter(1.0), np.random.default_rng(0).normal(size=110).astype(np.float32)
    (first, slots), (second, later) = pieces(signal, 100, 10)
    assert frame_filter.find_flaw("pump", first, 0.0, slots) is None
    assert frame_filter.find_flaw("fan", second, 0.0, later) is None
    frame_filter.forget()
    assert frame_filter.find_flaw("pump", second, 0.0, later) is None
    assert frame_filter.find_flaw("pump", first, 0.0, None) is None  # nobody knows what it shares
