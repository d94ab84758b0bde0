"""Tokens are those that are in the files now."""

from pathlib import Path

import pytest

from edge_runtime.config.http_requests import HttpTokenConfig
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.token_files import LOOK_EVERY_S, TokenFiles
from edge_runtime.serving.token_holder import find_holder
from edge_runtime.system.redaction import PROCESS

OLD, NEW = "old-k1k2k3k4k5k6k7k8k9", "new-k1k2k3k4k5k6k7k8k9"


class Site:
    """One caller; the clock goes on at each look."""

    def __init__(self, folder: Path) -> None:
        self.file, self._now_s = folder / "wall.token", 0.0
        self.file.write_text(f"{OLD}\n")
        caller = HttpTokenConfig(file=self.file, role="viewer")
        self.files = TokenFiles({"wall": caller}, lambda: self._now_s)

    def has(self, token: str) -> bool:
        self._now_s += LOOK_EVERY_S
        return find_holder(self.files.holders(), token) is not None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_token_has_the_role_of_its_caller_and_no_log_shows_it(site: Site) -> None:
    [holder] = site.files.holders()
    assert (holder.name, holder.role) == ("wall", Role.VIEWER)
    assert PROCESS.knows(OLD)


def test_a_new_token_counts_and_the_old_one_no_longer(site: Site) -> None:
    assert site.has(OLD)
    site.file.with_suffix(".new").write_text(NEW)
    site.file.with_suffix(".new").replace(site.file)
    assert (site.has(OLD), site.has(NEW)) == (False, True)
    assert PROCESS.knows(NEW)


@pytest.mark.parametrize("text", ["", "short", "two lines of\nsome token"])
def test_a_file_without_a_token_takes_the_right_until_there_is_one(site: Site, text: str) -> None:
    assert site.has(OLD)
    site.file.write_text(text)
    assert not site.has(OLD)
    site.file.write_text(NEW)
    assert site.has(NEW)


def test_a_file_that_is_taken_away_takes_the_right_and_gives_it_back(site: Site) -> None:
    assert site.has(OLD)
    site.file.unlink()
    assert not site.has(OLD)
    site.file.write_text(OLD)
    assert site.has(OLD)
