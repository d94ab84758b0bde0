"""Lines that are shown without their secrets stand for those of the file."""

import pytest

from edge_runtime.config.hidden_lines import put_secrets_back
from edge_runtime.config.secret_values import hide_secrets
from edge_runtime.errors import CommandError

FILE = """\
device: box   # in hall 3
cameras:
  belt:
    path: rtsp://viewer:hunter2x@camera/1
    fps: 5
mqtt:
  user: box
  password: "open sesame"
"""


def edit(*changes, file=FILE):
    shown = hide_secrets(file)
    assert "sesame" not in shown
    edited = shown
    for before, after in changes:
        assert before in edited
        edited = edited.replace(before, after)
    return put_secrets_back(file, hide_secrets, edited)


def test_what_was_left_as_it_was_is_the_file():
    assert edit() == FILE


def test_other_lines_are_as_they_were_edited():
    edited = edit(
        ("fps: 5", "fps: 7"), ("mqtt:\n", "# the broker\nmqtt:\n"), ("device: box", "device: other")
    )
    assert edited == FILE.replace("fps: 5", "fps: 7").replace("mqtt:\n", "# the broker\nmqtt:\n").replace(
        "device: box", "device: other"
    )


def test_a_secret_goes_with_its_line():
    assert "sesame" not in edit(('  password: "***"\n', ""), ("  user: box\n", ""))
    assert edit(('"***"', '"{EDGE_PASSWORD}"')) == FILE.replace("open sesame", "{EDGE_PASSWORD}")


@pytest.mark.parametrize(
    "change",
    [('"***"', '"***2"'), ("rtsp://***@camera/1", "rtsp://***@other/1"), ("user: box", "token: '***'")],
)
def test_a_hidden_line_that_was_changed_is_refused_with_its_number(change):
    with pytest.raises(CommandError, match=r"^line \d+: "):
        edit(change)


def test_a_secret_over_several_lines_is_not_guessed():
    file = 'device: box\nmqtt:\n  password: "open\n    sesame"\n'
    with pytest.raises(CommandError, match=r"^line 3: "):
        edit(("device: box", "device: other"), file=file)


@pytest.mark.parametrize("key", ["note: |", "path: >"])
def test_a_hidden_line_may_not_be_moved_to_where_an_error_or_the_next_look_would_show_it(key):
    password = 'mqtt:\n  user: box\n  password: "***"\n'
    with pytest.raises(CommandError, match=r"^line \d+: "):
        edit((password, f'{key}\n  password: "***"\n'))


def test_line_ends_and_a_byte_order_mark_stay():
    file = "\ufeff" + FILE.replace("\n", "\r\n")
    edited = edit(("fps: 5", "fps: 7"), file=file)
    assert edited == file.replace("fps: 5", "fps: 7")


def test_stars_that_stand_for_nothing_are_text():
    assert put_secrets_back("device: box\n", hide_secrets, "device: box # *** new ***\n").endswith(
        "new ***\n"
    )
