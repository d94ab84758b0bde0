"""What the preprocessing makes and what the model takes are compared before the model runs."""

from typing import Any

import pytest

from edge_runtime.bundles.input_check import check_input
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.base import TensorSpec
from edge_runtime.inference.specs import PictureSpec, read_preprocess


def spec(**changes: Any) -> PictureSpec:
    keys = {
        "colour": "rgb", "width": 96, "height": 64, "geometry": "stretch", "filter": "area",
        "mean": (0, 0, 0), "std": (1, 1, 1), **changes,
    }  # fmt: skip
    return PictureSpec.model_validate(keys)


def refusal(shape: tuple[int | None, ...], dtype: str = "float", **changes: Any) -> str:
    with pytest.raises(BundleError) as caught:
        check_input("net.onnx", spec(**changes), TensorSpec("image", dtype, shape))
    return str(caught.value)


@pytest.mark.parametrize("shape", [(None, 3, 64, 96), (1, 3, None, None), (None, None, None, None)])
def test_what_fits_passes(shape: tuple[int | None, ...]) -> None:
    check_input("net.onnx", spec(), TensorSpec("image", "float", shape))


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((None, 3, 224, 128), "Set width: 128, height: 224 under preprocess"),
        ((None, 64, 96, 3), "Set layout: nhwc under preprocess"),
        ((None, 224, 224, 3), "Set layout: nhwc, width: 224, height: 224 under"),
        ((None, 1, 64, 96), "Set colour: grey under preprocess"),
        ((None, 4, 64, 96), "Models of 4 channels are not supported"),
        ((None, 64, 96, 4), "Models of 4 channels are not supported"),
        ((None, 576), "Only models that take pictures"),
    ],
)
def test_what_does_not_fit_names_the_keys(shape: tuple[int | None, ...], advice: str) -> None:
    text = refusal(shape)
    assert advice in text
    assert "(3, 64, 96)" in text


def test_a_grey_spec_for_a_colour_model_is_named() -> None:
    assert "colour: rgb" in refusal((None, 3, 64, 96), colour="grey", mean=(0,), std=(1,))


def test_a_model_of_pixel_levels_gets_no_fractions() -> None:
    image = TensorSpec("image", "uint8", (None, 3, 64, 96))
    check_input("net.onnx", spec(), image)
    for mean, std in (
        ((127, 127, 127), (128, 128, 128)),
        ((0, 0, 0), (255, 255, 255)),
        ((5, 0, 0), (1, 1, 1)),
    ):
        text = refusal(image.shape, "uint8", mean=mean, std=std)
        assert "uint8" in text
        assert "mean" in text


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((None, 256, 3), "Set layout: ntc under"),
        ((None, 3, 128), "Set length: 128 under"),
        ((None, 6, 256), "Name 6 channels"),
        ((None, 128, 3), "Set layout: ntc, set length: 128"),
        ((None, 3), "Set layout: nf, set length: 1"),
        ((None, 3, 64, 96), "Only models that take windows"),
    ],
)
def test_a_window_that_does_not_fit_names_the_keys(shape: tuple[int | None, ...], advice: str) -> None:
    channels = [{"name": name} for name in ("ax", "ay", "az")]
    window = read_preprocess({"kind": "signal", "channels": channels, "length": 256})
    with pytest.raises(BundleError) as caught:
        check_input("net.onnx", window, TensorSpec("window", "float", shape))
    assert advice in caught.value.fix
