"""A site of small coloured pictures, before the drift monitor: what its streams show and how they are counted."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.drift.scenes import Scene
from benchmarks.drift.site import Site
from tests.support.onnx_nets import classifier

pytestmark = pytest.mark.integration

PRODUCTS, EACH = 6, 10


def coloured(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (60, 16, 16, 3) of products that differ in colour, and which one each shows."""
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(7).uniform(60, 190, (PRODUCTS, 1, 1, 3))
    content = rng.permutation(np.repeat(np.arange(PRODUCTS), EACH))
    noisy = colours[content] + rng.normal(0, 12, (len(content), 16, 16, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), content


def prepare(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 64).transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def scene() -> Scene:
    watched, content = coloured(1)
    return Scene(
        "coloured", classifier(seed=4), coloured(0)[0], watched, content, prepare, lambda _: 0.5, fresh=coloured(2)
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(scene: Scene) -> Site:
    return Site(scene, seed=0, streams=5)


def test_a_drift_is_a_row_for_each_number_of_products(site: Site) -> None:
    rows = site.drift("noise", 1.0, (None, 2, 1))
    assert [row.products for row in rows] == [None, 2, 1]
    assert {(row.drift, row.severity, row.cost) for row in rows} == {("noise", 1.0, 0.0)}
    assert rows[0].found == 1.0


@pytest.mark.parametrize("is_fresh", [False, True])
def test_healthy_streams_of_products_that_were_seen_do_not_alarm(site: Site, is_fresh: bool) -> None:
    alarms = site.healthy_streams(None, 5, is_fresh=is_fresh)
    assert (alarms.alarms, alarms.streams, alarms.is_fresh) == (0, 5, is_fresh)
    assert site.healthy_streams(1, 3, is_fresh=is_fresh).products == 1


def test_fresh_streams_need_fresh_pictures(scene: Scene) -> None:
    bare = Site(replace(scene, fresh=None), seed=0, streams=1)
    with pytest.raises(ValueError, match="coloured"):
        bare.healthy_streams(1, 1, is_fresh=True)
