import subprocess
import sys
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import BENCHMARKS, main

pytestmark = pytest.mark.integration


def test_list_names_every_benchmark_once() -> None:
    lines = CliRunner().invoke(main, ["list"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_name_has_a_module(name: str) -> None:
    assert find_spec(f"benchmarks.{BENCHMARKS[name].module}") is not None


@pytest.mark.parametrize("name", ["drift-rates", "startup", "recalibration-cost", "quota"])
def test_flags_are_those_of_the_benchmark(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks", "run", name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"benchmarks run {name}" in done.stdout


def test_an_unknown_name_is_refused() -> None:
    result = CliRunner().invoke(main, ["run", "nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output
