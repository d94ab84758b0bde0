"""Dockerfile.arm64: the rules of hadolint that matter here, and that what it names exists. No Docker is needed."""

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

FILE = ROOT / "Dockerfile.arm64"
KNOWN = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER",
    "VOLUME", "WORKDIR",
}  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined."""

    word: str
    value: str


def read(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    return read(FILE.read_text())


def values(instructions: list[Instruction], word: str) -> list[str]:
    return [item.value for item in instructions if item.word == word]


def last_stage(instructions: list[Instruction]) -> list[Instruction]:
    starts = [index for index, item in enumerate(instructions) if item.word == "FROM"]
    return instructions[starts[-1] :]


def test_only_known_instructions(instructions: list[Instruction]) -> None:
    assert {item.word for item in instructions} <= KNOWN


def test_two_stages_from_one_pinned_slim_image_for_arm64(instructions: list[Instruction]) -> None:
    stages = values(instructions, "FROM")
    assert [stage.split()[-1] for stage in stages] == ["wheels", "runtime"]
    assert len({stage.split(" AS ")[0] for stage in stages}) == 1
    defaults = dict(value.split("=", 1) for value in values(instructions, "ARG"))
    assert defaults["PLATFORM"] == "linux/arm64"
    assert re.fullmatch(r"3\.\d+-slim-\w+", defaults["PYTHON"])
    floor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert defaults["PYTHON"].startswith(floor.removeprefix(">="))


def test_everything_copied_exists_and_is_not_ignored(instructions: list[Instruction]) -> None:
    ignored = (ROOT / "Dockerfile.arm64.dockerignore").read_text().splitlines()
    for value in values(instructions, "COPY"):
        *sources, _ = [word for word in value.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source.rstrip('/')}" in ignored, source


def test_it_runs_as_an_unprivileged_user(instructions: list[Instruction]) -> None:
    (user,) = values(last_stage(instructions), "USER")
    assert int(user) >= 1000
    assert f"--uid {user}" in FILE.read_text()
    words = [item.word for item in last_stage(instructions)]
    assert "RUN" not in words[words.index("USER") :]


def test_no_torch_no_compiler_and_nothing_piped_into_a_shell(instructions: list[Instruction]) -> None:
    runs = " ".join(values(instructions, "RUN"))
    assert not re.search(r"\b(torch|gcc|build-essential|sudo|curl|wget|apt-get)\b", runs)
    assert "| sh" not in runs
    assert not values(instructions, "ADD")


def test_extras_that_are_named_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"EXTRAS=(\w[\w,]*)", FILE.read_text())
    assert named
    for group in named:
        assert set(group.split(",")) <= set(extras)


def test_it_stops_gently_and_starts_without_a_shell(instructions: list[Instruction]) -> None:
    stage = last_stage(instructions)
    assert values(stage, "STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(values(stage, "ENTRYPOINT")[0]) == ["edge-runtime"]
    assert json.loads(values(stage, "CMD")[0])[0] == "run"
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert "edge-runtime" in script


def test_nothing_secret_is_baked_in(instructions: list[Instruction]) -> None:
    for word in ("ENV", "ARG", "LABEL"):
        for value in values(instructions, word):
            assert not re.search(r"(?i)password|secret|token|EDGE_", value)


@pytest.fixture
def healthz() -> Iterator[tuple[str, list[int]]]:
    """A server that answers with the code in the list."""
    code = [200]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code[0])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of the base class
            return

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/healthz", code
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("code", "is_healthy"), [(200, True), (503, False)])
def test_the_health_check_really_checks(
    instructions: list[Instruction], healthz: tuple[str, list[int]], code: int, is_healthy: bool
) -> None:
    url, codes = healthz
    codes[0] = code
    _, command = values(instructions, "HEALTHCHECK")[0].split("CMD", 1)
    python, *arguments = json.loads(command)
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *arguments], env={"HEALTHZ": url}, capture_output=True, timeout=WAIT_S
    )
    assert (done.returncode == 0) is is_healthy


def test_the_health_check_asks_where_the_daemon_listens_by_default(instructions: list[Instruction]) -> None:
    from edge_runtime.config import HttpConfig

    default = HttpConfig()
    expected = f"HEALTHZ=http://{default.host}:{default.port}/healthz"
    assert any(expected in value for value in values(instructions, "ENV"))
    assert values(instructions, "EXPOSE") == [str(default.port)]
