"""What the live view of the dashboard costs: ``benchmarks run live-view``.

A daemon with four cameras (video files at 5 frames/s) and the demo's model; a real browser opens its page and leaves
it, in turns. Printed are, round by round, the daemon's share of a core with the page and without it, and how long the
page took until all four pictures had moved; then the mean difference with its standard error, and how long each view
of the dashboard took to be there, with the figures of the device, in a browser that has nothing of it yet (at most 2
s). While no page is open the daemon counts the requests that it gets: there must be none. Processor time is that of
the daemon and its children: the browser is the viewer's. Needs the extra ``test``, and Chromium.
"""

import argparse
import json
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import simplejpeg
from playwright.sync_api import Browser, Page, sync_playwright
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.performance.bare_runs import pictures_in
from edge_runtime.cli.bench.daemon import RunningDaemon, run_daemon

CAMERAS, FPS = 4, 5
TURN_S = 0.5
"""A picture stays so long in the clip."""
SETTLE_S = 2.0
_LOADED = """id => {
  const view = document.getElementById(`view-${id}`), ready = document.getElementById("ready");
  return view !== null && !view.hidden && ready.textContent !== "loading";
}"""
_MOVED = """() => {
  const shown = [...document.querySelectorAll('.camera img')].filter(one => one.src);
  window.first ??= new Map();
  for (const one of shown) if (!window.first.has(one)) window.first.set(one, one.src);
  return shown.filter(one => one.src !== window.first.get(one)).length === WANTED;
}""".replace("WANTED", str(CAMERAS))


def write_video(path: Path, pictures: Sequence[Path], width: int, height: int) -> None:
    """Photographs with noise, one after the other, as a camera's encoder gets them."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height))
    for picture in pictures:
        still = simplejpeg.decode_jpeg(picture.read_bytes(), "BGR")
        for _ in range(max(1, round(TURN_S * FPS))):
            noise = rng.normal(0, 3, still.shape)
            writer.write(np.clip(still + noise, 0, 255).astype(np.uint8))
    writer.release()


def count_requests(url: str) -> float:
    """HTTP requests that the daemon has had so far, without those for its metrics."""
    page = httpx.get(f"{url}/metrics", trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "edge_runtime_http_requests_total" and sample.labels["route"] != "/metrics"
    )


def measure(seconds: float, rounds: int, size: tuple[int, int], folder: Path) -> dict[str, Any]:
    """The figures; see the module."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    pictures = pictures_in(folder / "pictures", size=size)
    write_video(folder / "clip.mp4", pictures, *size)
    camera = {"path": str(folder / "clip.mp4"), "model": "m", "fps": FPS, "loop": True, "snapshots": True}
    config = {
        "device": "bench",
        "models": {"m": {"bundle": "demo:efficientnet-lite0", "threads": 1}},
        "cameras": {f"camera-{number}": camera for number in range(1, CAMERAS + 1)},
        "http": {"port": port},
        "log": {"level": "error"},
    }
    url = f"http://127.0.0.1:{port}"
    with run_daemon(config, folder / "daemon") as running, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        found = [_one_round(page, running, url, seconds) for _ in range(rounds)]
        views = _find_views(page, url)
        loads = [{view: _load_view(browser, url, view) for view in views} for _ in range(rounds)]
        browser.close()
    extra = [one["open_share"] - one["closed_share"] for one in found]
    error = statistics.stdev(extra) / len(extra) ** 0.5 if len(extra) > 1 else float("nan")
    return {
        "cameras": CAMERAS,
        "fps": FPS,
        "size": size,
        "rounds": found,
        "share_of_a_core": round(statistics.mean(extra), 4),
        "standard_error": round(error, 4),
        "longest_until_moved_s": max(one["moved_s"] for one in found),
        "median_until_loaded_s": {
            view: round(statistics.median(one[view] for one in loads), 2) for view in views
        },
        "longest_until_loaded_s": {view: max(one[view] for one in loads) for view in views},
    }


def _find_views(page: Page, url: str) -> list[str]:
    page.goto(url)
    links = [link.get_attribute("href") or "" for link in page.locator("#views a").all()]
    page.goto("about:blank")
    return [link.removeprefix("#") for link in links]


def _load_view(browser: Browser, url: str, view: str) -> float:
    """Seconds until it is shown with the figures of the device; nothing is in the browser's cache."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    began_s = time.perf_counter()
    page.goto(f"{url}/#{view}")
    page.wait_for_function(_LOADED, arg=view, polling=10)
    took_s = time.perf_counter() - began_s
    page.close()
    return round(took_s, 2)


def _one_round(page: Page, running: RunningDaemon, url: str, seconds: float) -> dict[str, float]:
    before = count_requests(url)
    closed_share = running.idle_share(seconds)
    requests_closed = count_requests(url) - before
    began_s = time.perf_counter()
    page.goto(url)
    page.wait_for_function(_MOVED, polling=50)
    moved_s = time.perf_counter() - began_s
    time.sleep(SETTLE_S)
    open_share = running.idle_share(seconds)
    page.goto("about:blank")
    time.sleep(SETTLE_S)
    return {
        "closed_share": round(closed_share, 4),
        "requests_closed": requests_closed,
        "open_share": round(open_share, 4),
        "moved_s": round(moved_s, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks run live-view", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of one look")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="1280x720", help="of the frames, in pixels")
    arguments = parser.parse_args()
    width, height = (int(part) for part in arguments.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="live-view-") as name:
        print(json.dumps(measure(arguments.seconds, arguments.rounds, (width, height), Path(name)), indent=2))


if __name__ == "__main__":
    main()
