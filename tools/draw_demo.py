"""Draws the two pictures of the README from one real run of the demo: ``make pictures``.

``docs/pictures/recovery.svg`` shows how often the model answers as on the undrifted pictures, with and without the
patch. ``docs/pictures/status.png`` is the status page during that run, by headless Chromium.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from playwright.sync_api import sync_playwright

from edge_runtime.cli.demo.agreement import Answer, AnswerLog, CompareTop
from edge_runtime.cli.demo.run import apply_demo_options, open_base_model
from edge_runtime.config import Config, load_config
from edge_runtime.daemon.wiring.daemon import build_daemon
from edge_runtime.messaging.events import DriftAlarm, Fact, Recalibrated
from edge_runtime.sources.demo import DATA

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
CONFIG, STREAM = DATA / "demo.yaml", "conveyor"
RUN_S, DRIFT_AT_S = 90.0, 45.0
"""As ``RUN_FOR=90 make run``."""
OPEN_PAGE_AT_S, WATCH_S = 20.0, 65.0
WINDOW = 90
"""Answers in one point of a line, the newest 6 s: one photograph alone must not make the line jump."""


def main() -> None:
    """Run the demo, draw, and print what was drawn."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        config, answers, events = play(Path(folder))
        camera = config.cameras[STREAM]
        base_top = open_base_model(config, STREAM, camera)
        draw(answers.of(STREAM), events, base_top, camera.fps or 10.0)


def play(folder: Path) -> tuple[Config, AnswerLog, list[tuple[float, Fact]]]:
    """One run of the demo with haze; gives its configuration, answers and events."""

    def adjust(loaded: Config) -> Config:
        return apply_demo_options(loaded, folder / "state", drift="haze", drift_at_s=DRIFT_AT_S)

    loaded = load_config(CONFIG, os.environ)
    answers = AnswerLog(frozenset({STREAM}))
    daemon = build_daemon(loaded, CONFIG, adjust=adjust, on_result=answers.add)
    camera = threading.Thread(target=photograph)
    camera.start()
    daemon.run(RUN_S)
    camera.join()
    return adjust(loaded), answers, daemon.reporter.history()


def photograph() -> None:
    """Open the status page late in the run, watch it for a while as a person would, and take its picture."""
    time.sleep(OPEN_PAGE_AT_S)
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1120, "height": 960})
        page.goto("http://127.0.0.1:8080/")
        page.wait_for_timeout(WATCH_S * 1000)
        page.screenshot(path=PICTURES / "status.png", clip={"x": 0, "y": 0, "width": 1120, "height": 935})
        browser.close()


def draw(answers: list[Answer], events: list[tuple[float, Fact]], base_top: CompareTop, fps: float) -> None:
    """Write the picture of the recovery."""
    seqs = np.array([answer.seq for answer in answers])
    wanted = [base_top(answer.seq, False) for answer in answers]
    seen = np.array([answer.top == top for answer, top in zip(answers, wanted, strict=True)], float)
    is_drifted = seqs >= DRIFT_AT_S * fps
    alone = [base_top(seq, drifted) for seq, drifted in zip(seqs.tolist(), is_drifted.tolist(), strict=True)]
    unpatched = np.array([top == right for top, right in zip(alone, wanted, strict=True)], float)
    is_patched = np.array([answer.is_patched for answer in answers])
    before, after = is_drifted & ~is_patched, is_drifted & is_patched
    shares = {
        "with haze, before": seen[before].mean(),
        "with haze, after": seen[after].mean(),
        "those frames without the patch": unpatched[after].mean(),
    }
    sys.stdout.write("\n".join(f"{name}: {share:.1%}" for name, share in shares.items()) + "\n")

    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "edge-runtime"})
    figure, axes = plt.subplots(figsize=(8.6, 3.6), layout="constrained")
    ends = seqs[WINDOW - 1 :] / fps
    for values, colour, width in ((unpatched, "#9aa4a0", 1.8), (seen, "#1f7a4d", 2.6)):
        axes.plot(ends, np.convolve(values, np.ones(WINDOW) / WINDOW, "valid") * 100, color=colour, lw=width)
    for at_s, text in [(DRIFT_AT_S, "haze"), *moments_of(events)]:
        axes.axvline(at_s, color="#b3261e" if text == "haze" else "#2b6f8f", lw=1, ls="--", ymax=0.93)
        side = {"haze": ("right", -3)}.get(text, ("left", 3))
        axes.annotate(
            text, (at_s, 104), xytext=(side[1], 0), textcoords="offset points", ha=side[0], fontsize=9
        )
    last = seqs[-1] / fps
    axes.annotate(
        f"edge-runtime\n{shares['with haze, after']:.0%}", (last * 1.01, 88), color="#1f7a4d", weight="bold"
    )
    axes.annotate(
        f"without a patch\n{shares['those frames without the patch']:.0%}", (last * 1.01, 40), color="#66706b"
    )
    axes.set(
        xlim=(0, last * 1.16), ylim=(0, 112), xlabel="seconds", ylabel="same answer as with a clean lens, %"
    )
    axes.set_yticks(range(0, 101, 20))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURES / "recovery.svg", metadata={"Date": None})


def moments_of(events: list[tuple[float, Fact]]) -> list[tuple[float, str]]:
    """When the alarm came and when the patch was in use."""
    first: dict[str, float] = {}
    for after_s, fact in events:
        match fact:
            case DriftAlarm():
                first.setdefault("alarm", after_s)
            case Recalibrated():
                first.setdefault("recalibrated", after_s)
    return [(at_s, text) for text, at_s in first.items()]


if __name__ == "__main__":
    main()
