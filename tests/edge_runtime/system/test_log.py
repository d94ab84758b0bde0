import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from edge_runtime.system.log import LONGEST_LINE, MOST_LINES, RECENT, REPEATS, RepeatLimit, configure_log
from edge_runtime.system.redaction import Redactor


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    yield io.StringIO()
    structlog.reset_defaults()
    logging.basicConfig(handlers=[logging.NullHandler()], level=logging.WARNING, force=True)


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_both_clocks(lines: io.StringIO) -> None:
    configure_log(stream=lines, clock=lambda: 12.3456)
    structlog.get_logger().info("source opened", stream="belt", restarts=2)
    (entry,) = entries(lines)
    assert entry["time"].endswith("Z")
    assert {k: v for k, v in entry.items() if k != "time"} == {
        "monotonic_s": 12.346,
        "level": "info",
        "event": "source opened",
        "stream": "belt",
        "restarts": 2,
    }


def test_the_level_counts_and_can_be_changed_while_running(lines: io.StringIO) -> None:
    log = structlog.get_logger()
    configure_log("warning", stream=lines)
    log.info("hidden")
    configure_log("debug", stream=lines)
    log.debug("shown")
    assert [entry["event"] for entry in entries(lines)] == ["shown"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_in_the_journal_every_line_has_its_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure_log("debug", format_, stream=journal)
        log = structlog.get_logger()
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log, level)("said")
        try:
            int("x")
        except ValueError:
            log.exception("two\nlines")
        journal.seek(0)
        written = journal.read().splitlines()
    assert [line[:3] for line in written[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert {line[:3] for line in written[5:]} == {"<3>"}
    assert RECENT.newest(len(written)) == [line[3:] for line in written]
    configure_log()


def test_elsewhere_no_line_has_a_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with (tmp_path / "file").open("w+") as file:
        configure_log(stream=file)
        structlog.get_logger().info("said")
        file.seek(0)
        assert file.read().startswith("{")
    configure_log()


def test_secrets_never_get_out(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_runtime.system.log.PROCESS", Redactor(["hunter2secret"]))
    configure_log(stream=lines)
    log = structlog.get_logger()
    log.info("opening rtsp://me:abc@cam/1", password="abc", api_token="def", note="it is hunter2secret")
    log.info("nested", settings={"mqtt_password": "abc", "urls": ["http://u:abc@h/?token=abc"]})
    try:
        int("rtsp://me:abc@cam hunter2secret")
    except ValueError:
        log.exception("failed")
    logging.getLogger("some.library").warning("connect to %s", "rtsp://me:abc@cam")
    text = lines.getvalue()
    assert "abc" not in text
    assert "hunter2secret" not in text
    assert "ValueError" in text
    assert len(entries(lines)) == 4


def test_lines_for_people(lines: io.StringIO) -> None:
    configure_log(format="console", stream=lines)
    try:
        int("why")
    except ValueError:
        structlog.get_logger().exception("failed", stream="belt")
    assert "failed" in lines.getvalue()
    assert "ValueError" in lines.getvalue()
    assert lines.getvalue()[:2] == "20"  # the time is first
    assert "monotonic_s" not in lines.getvalue()


def test_messages_of_libraries_are_logged_from_warning_on(lines: io.StringIO) -> None:
    configure_log("debug", stream=lines)
    logging.getLogger("uvicorn").info("chatter")
    logging.getLogger("uvicorn").warning("trouble")
    assert [(e["event"], e["level"]) for e in entries(lines)] == [("trouble", "warning")]


def test_a_library_that_repeats_itself_is_thinned_and_has_a_level_of_ours(lines: io.StringIO) -> None:
    configure_log(stream=lines)
    for _ in range(REPEATS + 3):
        logging.getLogger("library").log(logging.WARNING + 5, "100%% %s", "trouble")
    assert {(entry["level"], entry["event"], entry["library"]) for entry in entries(lines)} == {
        ("warning", "100% trouble", "library")
    }
    assert len(entries(lines)) == REPEATS


def test_a_library_s_traceback_is_logged_and_its_bad_record_stops_nothing(lines: io.StringIO) -> None:
    configure_log(stream=lines)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("library").exception("failed")
    logging.getLogger("library").warning("%d", "no number")
    (entry,) = entries(lines)
    assert "ZeroDivisionError" in entry["exception"]


def test_a_repeated_message_is_thinned_and_the_rest_counted() -> None:
    now = [0.0]
    limit = RepeatLimit(lambda: now[0])
    passed = []
    for at_s in (*range(REPEATS), 6, 7, 11, 12):
        now[0] = at_s
        try:
            passed.append(limit(None, "warning", {"event": "source lost", "stream": "belt"}))
        except structlog.DropEvent:
            passed.append(None)
    assert [bool(entry) for entry in passed] == [*[True] * REPEATS, False, False, True, True]
    assert passed[-2] is not None
    assert passed[-2]["suppressed"] == 2
    assert limit(None, "warning", {"event": "source lost", "stream": "side"})


def test_a_closed_standard_error_stops_no_writer() -> None:
    stream = io.StringIO()
    configure_log(stream=stream)
    stream.close()
    structlog.get_logger().warning("this is lost")
    logging.getLogger("library").warning("nor this")
    structlog.reset_defaults()
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def test_lines_of_many_threads_do_not_mix(lines: io.StringIO) -> None:
    configure_log(stream=lines)

    def write(number: int) -> None:
        for i in range(50):
            structlog.get_logger().info("line", stream=f"{number}-{i}", filling="x" * 200)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries(lines)) == 200


def test_values_that_json_does_not_know_are_written_as_text(lines: io.StringIO) -> None:
    configure_log(stream=lines)
    structlog.get_logger().info("odd", value=object, number=float("nan"), data={1: {2}})
    assert entries(lines)[0]["number"] is None


def test_the_newest_lines_are_kept_as_they_were_shown(lines: io.StringIO) -> None:
    configure_log(stream=lines)
    for number in range(MOST_LINES + 3):
        structlog.get_logger().info(f"line {number}", password="hunter2", long="x" * 2 * LONGEST_LINE)
    kept = RECENT.newest(MOST_LINES)
    shown = lines.getvalue().splitlines()
    assert kept == [line[:LONGEST_LINE] for line in shown[-MOST_LINES:]]
    assert RECENT.newest(2) == kept[-2:]
    assert not any("hunter2" in line for line in kept)


@pytest.mark.parametrize("form", ["json", "console"])
def test_lines_are_kept_with_their_levels(form: str) -> None:
    configure_log("info", form, stream=io.StringIO())
    structlog.get_logger().warning("first")
    structlog.get_logger().error("second")
    levels, lines = zip(*RECENT.newest_with_levels(2), strict=True)
    assert levels == ("warning", "error")
    assert "first" in lines[0]
    assert "second" in lines[1]
