"""What perf_analyzer is asked, and what is read of its report."""

from pathlib import Path

import click
import pytest

from benchmarks.performance.requests.callers import Figures, run_perf_analyzer

pytestmark = pytest.mark.integration

HEAD = "Concurrency,Inferences/Second,Client Send,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency"
PROGRAM = """#!/bin/sh
for one in "$@"; do
    [ "$before" = -f ] && printf '%s\\n4,63.5,476,1,13550,48888,59407,82077\\n' '{head}' >"$one"
    before=$one
done
echo "$@" >"{folder}/arguments"
"""


def make_program(folder: Path, text: str) -> Path:
    program = folder / "perf_analyzer"
    program.write_text(text)
    program.chmod(0o755)
    return program


def test_its_report_is_read(tmp_path: Path) -> None:
    program = make_program(tmp_path, PROGRAM.format(head=HEAD, folder=tmp_path))
    figures = run_perf_analyzer(program, "grpc", 8001, "parts", 4, 6.0, tmp_path)
    assert figures == Figures(63.5, 13.55, 82.077)
    asked = (tmp_path / "arguments").read_text()
    for part in ("-u 127.0.0.1:8001 -i grpc", "--concurrency-range 4", "-p 2000 -r 3"):
        assert part in asked


@pytest.mark.parametrize("text", ["#!/bin/sh\necho no library; exit 99\n", "#!/bin/sh\n"])
def test_what_it_says_is_told_when_it_fails(tmp_path: Path, text: str) -> None:
    with pytest.raises(click.ClickException):
        run_perf_analyzer(make_program(tmp_path, text), "http", 8080, "parts", 1, 1.0, tmp_path)
