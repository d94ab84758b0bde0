"""``python -m benchmarks list`` names the benchmarks; ``python -m benchmarks run NAME [flags]`` runs one."""

import importlib
import sys
from dataclasses import dataclass

import click

from edge_runtime.cli.bench.termination import end_children_on_sigterm


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One name on the command line."""

    line: str
    module: str
    """Below ``benchmarks``; its ``main`` reads ``sys.argv``. Imported when run: frameworks differ."""
    arguments: tuple[str, ...] = ()
    """Put before those of the user."""


def _part(name: str, line: str) -> tuple[str, Benchmark]:
    return name, Benchmark(line, "performance.parts", (name,))


BENCHMARKS = {
    "accuracy": Benchmark(
        "loss recovered on pictures and signals, parity of formats, and their pages", "accuracy.evaluation"
    ),
    "reconstruction": Benchmark(
        "autoencoders recalibrated: false alarms and anomalies found", "accuracy.reconstruction"
    ),
    "signal-parity": Benchmark(
        "nets on signals in every format compared with re-estimation in torch", "accuracy.signal_parity"
    ),
    "poison": Benchmark("recalibration with spoilt reference pictures", "accuracy.poison"),
    "gradients": Benchmark("derivatives of real nets compared with torch's", "accuracy.gradients"),
    "drift-rates": Benchmark("drifts found and false alarms of the drift monitor", "drift.rates"),
    "performance": Benchmark("all parts below down to int8, and their page", "performance.measure_all"),
    **dict(
        [
            _part("one-stream", "the daemon compared with the bare engine, one stream"),
            _part("two-streams", "the same with two streams"),
            _part("arrival", "latency from capture to an MQTT subscriber"),
            _part("peers", "the daemon compared with mosec, LitServe and MLServer"),
            _part(
                "picture-path", "from a JPEG to the tensor, compared with OpenCV's usual code and Pillow's"
            ),
            _part("start", "seconds to the first result, with a new model and with a known one"),
            _part("many-cameras", "CPU, memory and latency of 1 to 16 cameras"),
            _part("many-models", "the same of 1 to 8 models"),
            _part("dead-camera", "live cameras with and without one that never answers"),
            _part("camera-pipe", "H.264 cameras compared with an ffmpeg pipe and Roboflow's inference"),
            _part("hot-swap", "dropped frames, worst call and memory of model swaps under load"),
            _part("during-recalibration", "frames a second and p99 while a recalibration runs"),
            _part("quiet", "CPU a frame at 10 frames/s, and the share of a core when idle"),
            _part("quota", "latency under a quota of one CPU, by thread setting"),
            _part("int8", "speed of the int8 model over the float one"),
        ]
    ),
    "cameras": Benchmark(
        "CPU and memory of RTSP cameras without inference, and ffmpeg's", "performance.cameras"
    ),
    "rollout": Benchmark("a good version and broken ones on a running daemon", "rollout.trials"),
    "rollout-shadow": Benchmark(
        "live frames with and without a version in the shadow", "rollout.shadow_load"
    ),
    "commands-flood": Benchmark("bad commands by the thousand, and what they cost", "commands.flood"),
    "commands-remote": Benchmark(
        "a box commanded from another network over TLS, by stock tools (root)", "commands.remote.trial"
    ),
    "commands-status": Benchmark("bytes and milliseconds of the command status", "commands.status"),
    "commands-killed": Benchmark("kills -9 of a daemon while commands run", "commands.killed"),
    "config-edits": Benchmark(
        "edits of a running configuration by hand and by command, valid and broken", "commands.config_edits"
    ),
    "home-assistant": Benchmark(
        "a real Home Assistant core finds a box and commands it", "home_assistant.trial"
    ),
    "http-perf": Benchmark(
        "requests over HTTP and gRPC while a camera runs, by perf_analyzer", "performance.requests.trial"
    ),
    "tracking": Benchmark("object events on a street with labels, and their cost", "tracking.trial"),
    "signals-speed": Benchmark(
        "windows of a sensor a second through broker and daemon, and a plain loop", "signals.speed"
    ),
    "signals-payloads": Benchmark(
        "the time to read a window from each payload format", "signals.payload_cost"
    ),
    "signals-windows": Benchmark("the time to make windows of samples", "signals.window_cost"),
    "signals-trouble": Benchmark(
        "payloads of sensors with missing, late, cut and foreign parts", "signals.trouble"
    ),
    "picture-sizes": Benchmark(
        "time and grey levels of preparing pictures of several sizes and kinds, over OpenCV's usual code",
        "performance.picture_sizes",
    ),
    "startup": Benchmark("time to the first result, and memory", "performance.daemon.startup"),
    "live-view": Benchmark(
        "what the dashboard's live view costs, and how fast its views load", "performance.daemon.live_view"
    ),
    "gpu": Benchmark("models on a GPU: speed, memory, and parity with the CPU", "performance.gpu.trial"),
    "recalibration-cost": Benchmark(
        "seconds, memory and patch size of a recalibration", "performance.daemon.recalibration_cost"
    ),
}


@click.group()
def main() -> None:
    """Benchmarks of accuracy, drift monitor and speed."""


@main.command("list")
def show() -> None:
    """Name every benchmark with one line about it."""
    for name, one in BENCHMARKS.items():
        click.echo(f"{name:<20} {one.line}")


@main.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
@click.argument("name", type=click.Choice(list(BENCHMARKS)))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def run(name: str, flags: tuple[str, ...]) -> None:
    """Run the benchmark NAME with its flags; --help after the name lists them."""
    one = BENCHMARKS[name]
    sys.argv = [f"python -m benchmarks run {name}", *one.arguments, *flags]
    benchmark = importlib.import_module(f"benchmarks.{one.module}").main
    with end_children_on_sigterm():
        benchmark(prog_name=sys.argv[0]) if isinstance(benchmark, click.Command) else benchmark()


if __name__ == "__main__":
    main()
