"""The page about GPUs: figures of a GPU, of a rehearsal, and none."""

from benchmarks.performance.gpu.contenders import BATCHES, CONTENDERS
from benchmarks.performance.gpu.page import COLUMNS, REHEARSAL, UNMEASURED, page
from benchmarks.performance.gpu.trial import PAGE


def figures(frames_per_s: float) -> dict[str, object]:
    rows = [dict.fromkeys(COLUMNS.values(), frames_per_s) | {"batch": size} for size in BATCHES]
    return {"runs_on": "torch", "batches": rows}


def found(device: str) -> dict[str, object]:
    first, second = CONTENDERS[0].name, CONTENDERS[1].name
    parity = {"top1": 0.5, "worst": 0.25, "mean": 0.125, "rms": 1.0}
    closer = parity | {"top1": 1.0, "worst": 0.1}
    return {
        "device": device,
        "facts": {"GPU": "one"},
        "rounds": [
            {first: figures(10.0), second: {"unavailable": "no such device"}},
            {first: figures(30.0), second: {"unavailable": "no such device"}},
        ],
        "cpu": {first: figures(5.0)},
        "parity": {first: {"1": parity, "2": closer}},
    }


def lines_of(text: str, name: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [row for row in rows if row[0] == name]


def test_a_contender_has_a_row_for_each_batch_with_median_and_range() -> None:
    first = found("cuda")
    name = CONTENDERS[0].name
    speed = [row for row in lines_of(page(first), name) if len(row) == 2 + len(COLUMNS)]
    assert [row[1] for row in speed] == [str(size) for size in BATCHES]
    assert {row[2] for row in speed} == {"20 (10 to 30)"}


def test_parity_is_that_of_the_batch_that_agrees_least() -> None:
    row = lines_of(page(found("cuda")), CONTENDERS[0].name)[-1]
    assert row[1:] == ["50.0%", "0.25", "0.12", "1"]


def test_a_contender_that_cannot_run_is_named_with_its_reason() -> None:
    text = page(found("cuda"))
    assert [line for line in text.splitlines() if CONTENDERS[1].name in line] == [
        f"- {CONTENDERS[1].name}: not measured: no such device"
    ]


def test_a_rehearsal_is_named_as_such() -> None:
    assert REHEARSAL in page(found("cpu"))
    assert REHEARSAL not in page(found("cuda"))


def test_the_page_of_the_project_is_one_of_a_gpu_or_says_that_nothing_was_measured() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert REHEARSAL not in text
    assert text == page(None) or UNMEASURED not in text
