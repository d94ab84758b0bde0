"""How far a command is: a line for a person at a terminal, nothing for anybody else."""

import io

import click
import pytest

from edge_runtime.cli.progress import Progress
from edge_runtime.cli.send import show_progress


def make_screen(monkeypatch, *, is_terminal=True):
    """Not as a fixture: pytest sets the error stream anew before the test itself."""
    shown = io.StringIO()
    shown.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stderr", shown)
    return shown


@click.group()
@click.option("--quiet", is_flag=True)
def program(**_):
    pass


@program.command()
@click.option("--json", "as_json", is_flag=True)
def work(**_):
    with Progress() as progress:
        progress.begin("sending", 2000, unit="bytes", is_even=True)
        progress.advance(1000)
        progress.set(2000, "verifying\x1b[31m")


@pytest.mark.parametrize(
    ("words", "is_shown"), [(["work"], True), (["--quiet", "work"], False), (["work", "--json"], False)]
)
def test_it_is_shown_unless_the_answer_is_for_a_machine_or_nobody_wants_it(monkeypatch, words, is_shown):
    screen = make_screen(monkeypatch)
    program(words, standalone_mode=False)
    assert ("sending" in screen.getvalue()) is is_shown
    assert ("2.00kB of 2.00kB" in screen.getvalue()) is is_shown
    assert "\x1b" not in screen.getvalue()


def test_nothing_is_written_where_there_is_no_terminal(monkeypatch):
    screen = make_screen(monkeypatch, is_terminal=False)
    program(["work"], standalone_mode=False)
    assert screen.getvalue() == ""


def test_the_line_is_gone_at_the_end(monkeypatch):
    screen = make_screen(monkeypatch)
    program(["work"], standalone_mode=False)
    last = screen.getvalue().rstrip("\r").rpartition("\r")[2]
    assert last.strip() == ""


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"phase": "loading", "done_bytes": 500, "total_bytes": 1000}, "500B of 1.00kB"),
        ({"phase": "collecting", "frames": 3, "frames_wanted": 64}, "3 of 64"),
        ({"phase": "distilling", "share": 0.25}, "25 %"),
        ({"phase": "opening", "waited_s": 3}, "opening, 00:00"),
    ],
)
def test_what_a_device_tells_is_shown(monkeypatch, told, expected):
    screen = make_screen(monkeypatch)
    with Progress() as progress:
        show_progress(progress, told)
    assert expected in screen.getvalue()
