"""Real files of every format, made from a small net; what is measured on them and what the page says."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from benchmarks.accuracy.datasets import fashion
from benchmarks.accuracy.datasets.fashion_net import fashion_net
from benchmarks.accuracy.methods.formats import ONNX_FOLDED, every_format
from benchmarks.accuracy.methods.weights import same_weights, weights_of
from benchmarks.accuracy.records import NOTHING, PARITY, Case, Row
from benchmarks.accuracy.tables.parity_tables import IN_TURN, OWN, ROLLS_BACK, WEIGHTS_KEPT, by_format
from benchmarks.accuracy.tracks import parity
from calibration import ModelFiles, open_target
from calibration.patch import Affine, Patch
from edge_runtime.bundles.build.quantize_onnx import quantize_onnx

pytestmark = pytest.mark.integration

Formats = dict[str, ModelFiles]
FOLDED_FLOAT = {"ONNX float, BatchNorm folded", "OpenVINO IR float", "TorchScript frozen"}


def part(count: int, seed: int) -> fashion.Part:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (count, 7, 7, 1), np.uint8)
    return fashion.Part(coarse.repeat(4, axis=1).repeat(4, axis=2), rng.integers(0, 10, count))


@pytest.fixture(scope="module")
def net() -> fashion.TrainedNet:
    torch.manual_seed(0)
    eager = fashion_net(fashion.CLASSES)
    x = torch.from_numpy(fashion.prepare(part(64, 1).pixels))
    for _ in range(40):  # in training mode: statistics of its own
        eager(x)
    int8 = quantize_onnx(fashion.exported(eager.eval()), fashion.prepare(part(16, 2).pixels))
    return fashion.TrainedNet(eager, int8)


@pytest.fixture(scope="module")
def formats(net: fashion.TrainedNet) -> Formats:
    return every_format(net, fashion.prepare(part(16, 2).pixels))


def test_every_format_is_the_same_net(net: fashion.TrainedNet, formats: Formats) -> None:
    x = fashion.prepare(part(8, 3).pixels)
    with torch.inference_mode():
        wanted = net.eager(torch.from_numpy(x)).numpy()
    for name, files in formats.items():
        [got] = open_target(files).runner()(x).values()
        off = np.abs(got - wanted).max() / np.abs(wanted).max()
        assert off < (0.3 if "int8" in name else 1e-4), name


def test_weights_are_found_in_every_format(net: fashion.TrainedNet, formats: Formats) -> None:
    stored = [p for p in net.eager.parameters() if p.ndim > 1]
    for name, files in formats.items():
        found = weights_of(files)
        assert sorted(w.size for w in found) == sorted(p.numel() for p in stored), name
        assert any(w.dtype == np.int8 for w in found) == ("int8" in name), name


def test_a_patch_keeps_the_weights_but_where_batch_norm_was_folded_in_float(formats: Formats) -> None:
    for name, files in formats.items():
        target = open_target(files)
        tap = target.taps[1]
        affine = Affine(np.full(tap.channels, 1.25, np.float32), np.full(tap.channels, 0.1, np.float32))
        done = target.patched(Patch({tap.name: affine}, target.sha256, "", "one", 1, 0.0))
        assert same_weights(files, ModelFiles(done.data, done.weights)) == (name not in FOLDED_FLOAT), name


def test_a_case_measures_every_format_and_both_oracles(net: fashion.TrainedNet, formats: Formats) -> None:
    split = fashion.Split(part(32, 4), part(64, 5), part(40, 6))
    site = parity.Site(net.eager, formats, split)
    rows = {row.method: row for row in site.rows(Case(PARITY, 0, "contrast", 3, 64))}
    patched = {name: row for name, row in rows.items() if row.detail}
    assert len(patched) == 2 * 9 + len(parity.IN_TURN_OF)
    assert set(rows) - set(patched) == {NOTHING, *parity.oracles.ORACLES}
    assert all(row.detail[ROLLS_BACK] for row in patched.values())
    in_float = [name for name in patched if "int8" not in name and IN_TURN not in name and OWN not in name]
    for way in ("", OWN):
        after = [patched[name + way].after for name in in_float]
        assert all(abs(one - other) <= 1 / 40 for one, other in pairwise(after))


def test_against_the_nets_own_moments_a_patch_is_re_estimation(
    net: fashion.TrainedNet, formats: Formats
) -> None:
    target = open_target(formats[ONNX_FOLDED])
    live = fashion.prepare(part(64, 5).pixels) * 0.4 + 0.3
    own = parity.own_moments(net.eager, target.observe(live).moments)
    got = target.runner(parity.all_taps(target, own, live, is_in_turn=False))(live)
    with torch.inference_mode():
        wanted = parity.oracles.fvcore_update_bn(net.eager, live)(torch.from_numpy(live)).numpy()
    np.testing.assert_allclose(next(iter(got.values())), wanted, atol=5e-3 * np.abs(wanted).max())


def test_the_page_gives_differences_to_the_oracle_of_the_same_case() -> None:
    rows = []
    for seed, gap in ((1, 0.01), (2, -0.03)):
        case = Case(PARITY, seed, "fog", 3, 64)
        rows += [
            Row(case, NOTHING, 0.9, 0.5, 0.5),
            Row(case, "float, fvcore", 0.9, 0.5, 0.7 + seed / 100),
            Row(
                case,
                "some format",
                0.91,
                0.5,
                0.7 + seed / 100 + gap,
                detail={WEIGHTS_KEPT: 1, ROLLS_BACK: 1},
            ),
        ]
    line = by_format(rows).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["some format", "2", "-1.00", "2.00", "-3.00", "+1.00", "+1.00", "yes", "yes"]
