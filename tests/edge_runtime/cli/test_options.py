"""How answers are printed, whatever the names in them are."""

import os
from pathlib import Path

import numpy as np
import orjson
import pytest

from edge_runtime.cli.options import print_answer, print_indented
from tests.support.command_line import run_command

NAME = os.fsdecode(b"a\xff.jpg")
SHOWN = "a\\xff.jpg"


def test_names_of_files_that_are_no_utf_8_are_printed(capsys):
    values = {"picture": NAME, "found": [Path(NAME), (NAME,)], NAME: np.float32(0.5)}
    print_answer(values, True, "")
    assert orjson.loads(capsys.readouterr().out) == {
        "picture": SHOWN,
        "found": [SHOWN, [SHOWN]],
        SHOWN: 0.5,
    }
    print_indented({"picture": NAME})
    assert orjson.loads(capsys.readouterr().out) == {"picture": SHOWN}
    print_answer(values, False, f"recorded to {NAME}")
    assert capsys.readouterr().out == f"recorded to {SHOWN}\n"


def test_an_error_about_such_a_name_is_an_object_too():
    code, said = run_command("infer", f"/nowhere/{NAME}", "picture.jpg", "--json")
    assert (code, orjson.loads(said)["error"]["exit_code"]) == (64, 64)


def test_what_is_no_name_is_still_an_error():
    with pytest.raises(TypeError):
        print_answer({"value": 2**70}, True, "")
