"""The report page: what a person reads in it, that nothing can be injected, and that it stays small and whole."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import calibration as c
from calibration.report.data import Material, gather
from calibration.report.page import Setting, page
from calibration.report.template import without_pictures
from calibration.report.thumbnails import PictureScale
from calibration.targets.base import SkippedLayer
from tests.support.onnx_nets import classifier, detector, hazy, pictures, quantized, street

pytestmark = pytest.mark.integration

EVIL = '"><script>alert(1)</script>'
MOST_BYTES = 400_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return quantized(classifier(seed=4), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def baseline(model: bytes) -> c.Baseline:
    return c.profile(model, pictures(64, seed=1), created_wall_s=0.0)


@pytest.fixture(scope="module")
def accepted(model: bytes, baseline: c.Baseline) -> c.Verdict:
    verdict = c.recalibrate(model, baseline, hazy(pictures(48, seed=2)))
    assert verdict.accepted
    return verdict


@pytest.fixture(scope="module")
def material(model: bytes, baseline: c.Baseline, accepted: c.Verdict) -> Material:
    return gather(model, baseline, hazy(pictures(48, seed=2)), accepted, with_pictures=True)


class Tags(HTMLParser):
    """Which tags are open at the end, and all attributes that could load or run something."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open, self.links, self.handlers, self.seen = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert tags.open == []
    assert tags.handlers == []
    assert "script" not in tags.seen
    assert all(link.startswith("data:image/") for link in tags.links)
    return tags


def plain(text: str) -> str:
    body = text[text.index("<body>") :]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_an_accepted_one_says_what_is_corrected_and_shows_it(
    baseline: c.Baseline, accepted: c.Verdict, material: Material
) -> None:
    text = page(accepted, baseline, material, Setting("parts on belt-3", 86400.0, {"Begun by": "drift"}))
    tags = parsed(text)
    assert {"svg", "img", "table"} <= tags.seen
    words = plain(text)
    for part in (
        "accepted",
        accepted.candidate,
        "no patch",
        "with the patch",
        "1970-01-02",
        "24 hours before",
    ):
        assert part in words, part
    assert text.count("<img") == len(tags.links) == 24
    assert len(text.encode()) < MOST_BYTES


def test_on_a_narrow_screen_every_figure_stands_beside_its_title(
    baseline: c.Baseline, accepted: c.Verdict
) -> None:
    text = page(accepted, baseline, Material(), Setting())
    for title in ("Agreement", "Fidelity gain"):
        assert text.count(f'data-title="{title}"') == len(accepted.scores)


def test_a_refusal_does_not_read_like_a_success(model: bytes, baseline: c.Baseline) -> None:
    x = pictures(48, seed=5)
    verdict = c.recalibrate(model, baseline, x)
    text = page(verdict, baseline, gather(model, baseline, x, verdict, with_pictures=True), Setting())
    parsed(text)
    words = plain(text)
    assert "the model stays as it is" in words
    assert "refused" in words
    assert "It is not in use." in words
    assert "with the patch" not in words
    assert verdict.reasons[0].split("(")[0] in words


def test_no_text_from_outside_becomes_markup(
    baseline: c.Baseline, accepted: c.Verdict, material: Material
) -> None:
    assert accepted.patch is not None
    taps = {EVIL + tap if tap != "input" else tap: affine for tap, affine in accepted.patch.taps.items()}
    moments = c.Moments({(EVIL + t if t != "input" else t): m for t, m in baseline.moments.items()})
    verdict = replace(
        accepted,
        patch=replace(accepted.patch, taps=taps, candidate=EVIL),
        candidate=EVIL,
        scores={EVIL: {EVIL: 1.0, "gain": 0.1, "gain_error": 0.1}, "identity": {"gain": 0.0}},
        reasons=(EVIL,),
        notes=(EVIL,),
        skipped_layers=(SkippedLayer(EVIL, EVIL),),
        frames=replace(accepted.frames, left_out={EVIL: 3}),
    )
    assert material.layers is not None
    layers = replace(material.layers, before={EVIL: 1.0}, after={EVIL: 0.5}, healthy={EVIL: 0.1})
    setting = Setting(EVIL, 0.0, {EVIL: EVIL}, ((EVIL, EVIL),))
    text = page(verdict, replace(baseline, moments=moments), replace(material, layers=layers), setting)
    parsed(text)
    assert "<script" not in text


def test_figures_that_are_no_numbers_are_dashes(baseline: c.Baseline, accepted: c.Verdict) -> None:
    broken = {"nuclear_norm": np.nan, "gain": np.inf, "gain_error": np.nan, "new_score": -np.inf}
    verdict = replace(
        accepted, scores={"identity": broken, "input": broken}, drift={"input": np.nan, "conv": 0.0}
    )
    text = page(verdict, baseline, Material(), Setting())
    parsed(text)
    assert "–" in text
    assert "New score" in text
    assert not re.search(r"\b(nan|inf)\b", text.lower())


def test_a_verdict_of_nothing_but_a_reason_is_a_page(model: bytes, baseline: c.Baseline) -> None:
    verdict = c.recalibrate(model, baseline, pictures(4))
    text = page(verdict, baseline, Material(), Setting())
    parsed(text)
    assert "4 of 4 reference frames are usable" in plain(text)


def test_a_detector_reads_as_a_detector() -> None:
    baseline, x = c.profile(detector(), street(64)), hazy(street(64, seed=3), 0.4, -0.2)
    verdict = c.recalibrate(detector(), baseline, x)
    assert verdict.accepted
    text = page(verdict, baseline, gather(detector(), baseline, x, verdict, with_pictures=True), Setting())
    parsed(text)
    assert "Soft F1" in text
    assert "Objects per live frame" in text
    assert "healthy_objects" not in text


def test_pictures_can_be_left_out_and_taken_out(
    model: bytes, baseline: c.Baseline, accepted: c.Verdict, material: Material
) -> None:
    x = hazy(pictures(48, seed=2))
    without = page(accepted, baseline, gather(model, baseline, x, accepted, with_pictures=False), Setting())
    assert "data:image/" not in without
    whole = page(accepted, baseline, replace(material, layers=None), Setting())
    bare = without_pictures(whole)
    parsed(bare)
    assert whole.count("data:image/") == 24
    assert "data:image/" not in bare
    assert without_pictures(bare) == bare


def test_a_model_of_a_thousand_layers_stays_a_small_page(baseline: c.Baseline, accepted: c.Verdict) -> None:
    drift = {f"features.{i}.block.conv_with_a_long_name": 10.0 ** (i % 7 - 3) for i in range(1000)}
    skipped = tuple(SkippedLayer(f"layer {i}", "weights are per tensor " * 3) for i in range(1000))
    text = page(replace(accepted, drift=drift, skipped_layers=skipped), baseline, Material(), Setting())
    assert len(text.encode()) < MOST_BYTES
    assert "and 600 more" in plain(text)


def test_the_drift_goes_down_with_the_patch(material: Material) -> None:
    layers = material.layers
    assert layers is not None
    assert layers.after is not None
    assert layers.healthy is not None
    assert list(layers.before) == list(layers.after)
    assert layers.after["input"] < 0.2 * layers.before["input"]
    assert layers.healthy["input"] < 0.2 * layers.before["input"]


@pytest.mark.parametrize("is_bgr", [False, True])
def test_samples_become_the_pictures_they_were_made_from(is_bgr: bool) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7)).astype(np.float32)
    mean, std = np.array([120.0, 110, 100]), np.array([60.0, 61, 62])
    prepared = (rgb - mean.reshape(1, -1, 1, 1)) / std.reshape(1, -1, 1, 1)
    scale = PictureScale(-mean / std, (255 - mean) / std, is_bgr=is_bgr)
    shown = scale.to_bytes(prepared.astype(np.float32)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(shown if is_bgr else shown[:, ::-1], rgb)


def test_samples_of_unknown_origin_and_without_colour_are_shown_too(
    model: bytes, baseline: c.Baseline
) -> None:
    grey = np.random.default_rng(0).normal(5, 2, (9, 1, 12, 9)).astype(np.float32)
    shown = PictureScale.guess(grey, None).to_bytes(grey)
    assert shown.shape == (9, 12, 9, 1)
    assert (shown.min(), shown.max()) == (0, 255)
    constant = PictureScale.guess(grey * 0, None).to_bytes(grey * 0)
    assert constant.max() == 0
