"""A whole daemon that follows objects, and is killed while one is there."""

import pytest

from tests.support.box_site import box_bundle, show_squares
from tests.support.waiting import until

pytestmark = pytest.mark.integration

CELLS = [5] * 10 + [None] * 50 + [6] * 120


def test_each_object_is_one_event_which_ends_even_after_a_kill(box, tmp_path):
    bundle = box_bundle(tmp_path)
    camera = show_squares(
        tmp_path / "pictures", CELLS, fps=25, tracking={"lost_s": 1.5, "update_every_s": 0.2}
    )
    box.write(
        models={"boxes": {"bundle": str(bundle.path), "recalibrate": False}}, cameras={"street": camera}
    )
    box.start()

    def news():
        return [one["after"]["id"] for one in box.results("objects") if one["type"] == "new"]

    def ends():
        return {one["after"]["id"]: one["why"] for one in box.results("objects") if one["type"] == "end"}

    assert until(lambda: len(news()) == 2), box.log()
    first, second = news()
    assert ends() == {first: "lost"}
    box.process.kill()
    box.wait()
    box.write(models={"boxes": {"bundle": str(bundle.path), "recalibrate": False}},
              cameras={"street": {**camera, "loop": True, "tracking": None}})  # fmt: skip
    box.start()
    assert until(lambda: ends() == {first: "lost", second: "restarted"}), box.log()
    told = [one for one in box.results("objects") if one["after"]["id"] == first]
    assert [told[0]["type"], told[-1]["type"]] == ["new", "end"]
    assert {one["after"]["label"] for one in told} == {"person"}
    assert told[-1]["after"]["frames"] == 10
