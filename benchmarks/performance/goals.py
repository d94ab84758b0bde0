"""The performance goals and what was measured: pure functions of the stored parts.

A part is what ``measure_all`` stored of one benchmark: its name, then figures by round. A goal whose part was not
measured is shown as not measured.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.goals import Goal, goals_of
from benchmarks.performance import profiles, ratios
from benchmarks.performance.peers import comparison
from benchmarks.performance.peers import own_contenders as own
from benchmarks.performance.ratios import Parts, Values


@dataclass(frozen=True, slots=True)
class Measure:
    """How the figure of a goal is computed."""

    values: Callable[[Parts], Values]
    """A value a round; KeyError or StatisticsError where nothing was measured."""
    why: Callable[[Parts], str] = lambda _: ""
    """Shown when the goal is missed: where the time goes, in figures."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and its measurement."""

    goal: Goal
    measured: str
    is_met: bool | None
    """None: not measured."""
    why: str


def verdicts(parts: Parts) -> list[Verdict]:
    """Every goal."""
    return [_verdict(goal, parts) for goal in goals_of("performance")]


def _verdict(goal: Goal, parts: Parts) -> Verdict:
    measure = MEASURES[goal.key]
    try:
        values = measure.values(parts)
        middle = statistics.median(values)
    except (
        KeyError,
        IndexError,
        ValueError,
    ):  # not run, or not possible here; StatisticsError is a ValueError
        return Verdict(goal, "not measured", None, "")
    is_met = goal.is_met(middle)
    lowest, highest = goal.form.format(min(values)), goal.form.format(max(values))
    spread = f" ({lowest} to {highest})" if len(values) > 1 else ""
    return Verdict(goal, goal.form.format(middle) + spread, is_met, "" if is_met else measure.why(parts))


_DOCUMENTED, _SAME = comparison.DOCUMENTED, comparison.SAME_CODE

MEASURES: Mapping[str, Measure] = {
    "picture_path": Measure(ratios.of_rounds("picture path", "daemon_ms", "opencv_ms"), profiles.pictures),
    "two_streams_over_loop": Measure(
        ratios.of_bench("two streams", "frames_per_s_over_loop"), profiles.bench("two streams")
    ),
    "one_stream_over_loop": Measure(
        ratios.of_bench("one stream", "frames_per_s_over_loop_all"), profiles.bench("one stream")
    ),
    "documented_one": Measure(ratios.frames_over(own.FOLDER, "1", _DOCUMENTED, "2"), profiles.peers),
    "documented_two": Measure(ratios.frames_over(own.FOLDER, "2", _DOCUMENTED), profiles.peers),
    "documented_mqtt_one": Measure(ratios.frames_over(own.MQTT, "1", _DOCUMENTED), profiles.peers),
    "documented_mqtt_two": Measure(ratios.frames_over(own.MQTT, "2", _DOCUMENTED), profiles.peers),
    "documented_http_one": Measure(ratios.frames_over(own.HTTP, "1", _DOCUMENTED), profiles.peers),
    "documented_http_two": Measure(ratios.frames_over(own.HTTP, "2", _DOCUMENTED), profiles.peers),
    "same_code_one": Measure(ratios.frames_over(own.FOLDER, "1", _SAME, "2"), profiles.peers),
    "same_code_two": Measure(ratios.frames_over(own.FOLDER, "2", _SAME), profiles.peers),
    "memory_over_documented": Measure(ratios.memory_over_fastest, profiles.memory),
    "memory_over_smallest_peer": Measure(ratios.over_peers(own.FOLDER, "2", "pss_mib", min), profiles.memory),
    "camera_cpu": Measure(ratios.of_rounds("cameras", "daemon_cores", "ffmpeg_cores")),
    "camera_keyframes_cpu": Measure(ratios.of_rounds("cameras", "keyframes_cores", "ffmpeg_cores")),
    "camera_pipe_cpu": Measure(ratios.pipe_cpu, profiles.pipe),
    "camera_memory": Measure(ratios.camera_memory, profiles.pipe),
    "cpu_a_frame": Measure(ratios.of_rounds("quiet", "daemon_cpu_ms", "loop_cpu_ms"), profiles.cpu),
    "start": Measure(ratios.single("start", "first_result_s"), profiles.start),
    "start_over_quickest_peer": Measure(
        ratios.over_peers(own.FOLDER, "1", "first_result_s", min), profiles.start
    ),
    "swap_worst_call": Measure(ratios.swap("live", "worst_over_p50"), profiles.swaps),
    "recalibration_no_free_core": Measure(
        ratios.loss_during_recalibration("no free core"), profiles.recalibration
    ),
    "recalibration_free_core": Measure(ratios.loss_during_recalibration("free core"), profiles.recalibration),
    "cpu_linear": Measure(ratios.cpu_deviation, profiles.curve),
    "dead_camera": Measure(ratios.with_dead_camera, profiles.dead),
    "arrival_at_subscriber": Measure(ratios.arrivals, profiles.arrival),
    "idle_share": Measure(ratios.single("quiet", "idle_share")),
    "swap_drops_live": Measure(ratios.swap("live", "dropped"), profiles.swaps),
    "swap_drops_flat_out": Measure(ratios.swap("flat_out", "dropped"), profiles.swaps),
    "swap_memory": Measure(ratios.swap("memory", "growth"), profiles.swap_memory),
    "quota_threads": Measure(ratios.over_by_hand),
    "int8_speed": Measure(ratios.of_rounds("int8", "float_ms", "int8_ms")),
    "int8_accuracy": Measure(ratios.accuracy_loss),
}
"""By the keys of ``goals.yaml``. A round of ``cameras`` has ``daemon_cores``, ``ffmpeg_cores``, ``keyframes_cores``."""
