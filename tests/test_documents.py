"""README and docs say what is true: links lead somewhere, files exist, code runs, configurations parse."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import orjson
import pytest

from benchmarks.__main__ import BENCHMARKS
from calibration.cli.main import cli as calibration_cli
from edge_runtime import __version__
from edge_runtime.bundles.build.recipe_file import RecipeFile
from edge_runtime.cli.main import cli as edge_cli
from edge_runtime.config import parse_config
from edge_runtime.config.strict_yaml import load
from edge_runtime.datatypes import Label, Origin, Rejected, RejectReason, Result, Timings
from edge_runtime.messaging.commands.request import ARGUMENTS, Arguments, check_arguments
from edge_runtime.messaging.encoding import encode_rejection, encode_result
from edge_runtime.system.rfc3339 import parse_rfc3339
from tests.support.onnx_nets import classifier, hazy, pictures
from tests.support.paths import ROOT
from tools.document.reference import REFERENCE, make_files
from tools.document.since import Since

PAGES = [
    ROOT / "README.md",
    ROOT / "systemd" / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md")),
]
HISTORY = ROOT / "docs" / "decisions"
"""Notes of their day: their links must lead somewhere, the files they name may be gone."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|toml|yaml|service|jinja|html))`")
MINIMAL = "device: d\nmodels: {parts: {bundle: p}}\ncameras: {c: {path: pictures, model: parts}}\n"
ENVIRONMENT = {"EDGE_MQTT_PASSWORD": "secret", "EDGE_CAMERA_PASSWORD": "secret"}


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if found[1] == language:
                yield page, found[2]


def named(cases: Iterator[tuple[Path, str]]) -> list[object]:
    return [pytest.param(text, id=f"{page.stem}-{i}") for i, (page, text) in enumerate(cases)]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_link_leads_to_a_file(page):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def find_anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them: small letters, no punctuation, a bar for each space."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    anchors: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        anchors[anchor] = anchors.get(anchor, 0) + 1
    return {f"{anchor}-{n}" if n else anchor for anchor, count in anchors.items() for n in range(count)}


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_link_into_a_page_leads_to_a_heading(page):
    links = [link for link in ANCHOR.findall(page.read_text(encoding="utf-8")) if "://" not in link[0]]
    targets = [((page.parent / path).resolve() if path else page, anchor) for path, anchor in links]
    lost = [
        (str(path), anchor)
        for path, anchor in targets
        if path.suffix == ".md" and anchor not in find_anchors(path)
    ]
    assert lost == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if HISTORY not in page.parents], ids=lambda page: page.name
)
def test_every_file_that_is_named_exists(page):
    roots = (ROOT, ROOT / "edge_runtime", page.parent)
    paths = NAMED_FILE.findall(page.read_text(encoding="utf-8"))
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []


@pytest.mark.parametrize("text", named(blocks("yaml")))
def test_every_yaml_block_is_accepted_by_the_program(text, tmp_path):
    if text.startswith("# recipe"):
        RecipeFile.model_validate(load(text, "recipe").data)
        return
    (tmp_path / "ca.pem").touch()
    rest = MINIMAL.replace("models: {parts: {bundle: p}}\n", "") if "models:" in text else MINIMAL
    whole = text if "device:" in text else text + rest
    config = parse_config(whole, "page", ENVIRONMENT, check_files=False)
    assert "parts" in config.models


STARTS = ("edge-runtime ", "python -m calibration ", "python -m benchmarks run ")


def shell_commands() -> Iterator[tuple[Path, str]]:
    """Every line in a shell block that begins with one of our programs."""
    for page, text in blocks("sh"):
        for line in text.splitlines():
            command = line.split("  #")[0].strip()
            if command.startswith(STARTS):
                yield page, command


def commands() -> Iterator[tuple[Path, str]]:
    """These, and every code span that begins so."""
    yield from shell_commands()
    for page in PAGES:
        if HISTORY in page.parents:
            continue
        for span in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
            if span.startswith(STARTS):
                yield page, span


@pytest.mark.parametrize("command", named(commands()))
def test_every_command_exists_with_its_options(command):
    words = shlex.split(command)
    node: click.Command = edge_cli
    words = words[1:]
    if command.startswith("python -m benchmarks"):
        assert words[3] in BENCHMARKS
        return
    if command.startswith("python"):
        node, words = calibration_cli, words[2:]
    while isinstance(node, click.Group) and words and not words[0].isupper():
        found = node.get_command(click.Context(node), words[0])
        assert found is not None, words[0]
        node, words = found, words[1:]
    known = {name for parameter in node.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known
    if node.name == "send" and words and not words[0].isupper():
        verb = next(parameter for parameter in node.params if parameter.name == "verb")
        assert isinstance(verb.type, click.Choice)
        assert words[0] in verb.type.choices


@pytest.mark.parametrize(
    "command", named((page, command) for page, command in shell_commands() if "benchmarks" not in command)
)
def test_every_command_to_copy_has_what_it_needs(command):
    words = shlex.split(command)[1:] if command.startswith("edge-runtime") else shlex.split(command)[3:]
    node: click.Command = edge_cli if command.startswith("edge-runtime") else calibration_cli
    while isinstance(node, click.Group):
        node, words = node.get_command(click.Context(node), words[0]), words[1:]
    given, rest, _ = node.make_parser(click.Context(node)).parse_args(words)
    assert rest == []
    required = [one for one in node.params if one.required]
    missing = [one.name for one in required if one.name not in given or one.value_is_missing(given[one.name])]
    assert missing == []


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {
        target
        for page in PAGES
        if HISTORY not in page.parents
        for target in re.findall(
            r"(?:^|`|\w=\w+ )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert used
    assert used <= targets


@pytest.mark.parametrize(
    "text", named(one for one in blocks("python") if one[0].name not in ("commands.md", "http.md"))
)
def test_every_python_block_of_the_library_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(classifier())
    values = {"healthy": pictures(64), "now": hazy(pictures(64, seed=2), 0.4, 0.5)}
    exec(compile(text, "page", "exec"), values)
    assert isinstance(values["v"].accepted, bool)
    assert (tmp_path / "patched.onnx").exists() is values["v"].accepted


def test_the_result_on_the_page_is_a_result_as_it_is_sent():
    text, _ = (text for page, text in blocks("json") if page.name == "operations.md")
    shown = orjson.loads(text)
    timings = Timings(
        *(shown["timings_ms"][name] for name in ("decode", "prepare", "queue", "infer", "total"))
    )
    top = tuple(Label(label["index"], label["label"], label["score"]) for label in shown["top"])
    at_wall_s = parse_rfc3339(shown["captured_at"])
    device, stream, seq = shown["id"].split("/")
    result = Result(
        device, stream, int(seq), at_wall_s, shown["model"], shown["generation"], timings, top=top
    )
    assert orjson.loads(encode_result(result)) == shown


def test_the_rejection_on_the_page_is_one_as_it_is_sent():
    _, text = (text for page, text in blocks("json") if page.name == "operations.md")
    shown = orjson.loads(text)
    device, stream, seq = shown["id"].split("/")
    at_wall_s = parse_rfc3339(shown["captured_at"])
    reason, origin = RejectReason(shown["rejected"]), Origin(name=shown["input"]["name"])
    rejected = Rejected(stream, int(seq), reason, shown["detail"], at_wall_s, origin)
    assert orjson.loads(encode_rejection(rejected, device, shown["model"])) == shown


SINCE = Since()
WRITTEN = make_files(SINCE)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_what_is_written_from_the_types_is_current(path):
    assert path.read_text(encoding="utf-8") == WRITTEN[path], "run: python -m tools.document"


def test_the_messages_of_grpc_are_those_of_the_source(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    sys.modules.pop("compile_proto", None)
    from compile_proto import COMPILED, compile_proto
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    found, expected = FileDescriptorSet.FromString(COMPILED.read_bytes()), compile_proto()
    assert found == FileDescriptorSet.FromString(expected), "run: python tools/compile_proto.py"


def test_the_reference_has_nothing_else():
    assert set(REFERENCE.iterdir()) == {path for path in WRITTEN if path.parent == REFERENCE}


def test_no_name_that_a_release_has_promised_is_gone():
    """One that is taken away on purpose is taken out of ``since.json`` too, and is in the changelog under Removed."""
    assert SINCE.removed == set()


def test_since_takes_new_names_in_and_misses_old_ones(tmp_path):
    (tmp_path / "since.json").write_text('{"0.1.0": ["key a", "key b"], "next": ["key c"]}')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-11-29\n")
    since = Since(tmp_path / "since.json", tmp_path / "CHANGELOG.md")
    assert [since.of(name) for name in ("key a", "key d")] == ["0.1.0", "next"]
    assert since.removed == {"key b"}
    assert orjson.loads(since.render()) == {"0.1.0": ["key a", "key b"], "next": ["key d"]}
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{__version__}] - 2026-12-24\n")
    assert Since(tmp_path / "since.json", tmp_path / "CHANGELOG.md").of("key c") == __version__


def test_every_verb_has_arguments_on_the_page_that_it_takes():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = page.split("| verb | arguments, for example |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    examples = [[re.findall(r"`(.*?)`", cell) for cell in row.split(" | ")] for row in rows]
    for verbs, given in examples:
        for verb in verbs:
            assert [check_arguments(verb, orjson.loads(text)).as_noted() for text in given]
    without = re.findall(r"`([a-z-]+)`", page.split("`{}` are the arguments of")[1].split(";")[0])
    named = [verb for verbs, _ in examples for verb in verbs]
    assert sorted([*without, *named, "bless"]) == sorted(ARGUMENTS)  # an old name, for one release
    assert all(ARGUMENTS[verb].model_fields.keys() == Arguments.model_fields.keys() for verb in without)


def test_the_readme_and_the_glossary_stay_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
    words = (
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Words")[1].split("## ")[0]
    )
    assert 1 <= words.count("\n|") - 2 <= 15
