"""The figures that a user asks for first."""

from collections.abc import Callable, Iterable

from benchmarks.performance.peers import own_contenders as own
from benchmarks.performance.pipe.trial import DAEMON
from benchmarks.performance.scaling.many import FPS
from benchmarks.performance.scaling.points import line_of
from benchmarks.performance.sections.words import Parts, median_of, rounds_of, short, table


def first_figures(parts: Parts) -> Iterable[str]:
    """Rows whose parts were measured."""
    rows = [(what, found) for what, read in _ROWS.items() if (found := _tried(read, parts))]
    if rows:
        yield "## The figures asked for first"
        yield "EfficientNet-Lite0 in int8, 224 x 224; pictures of 1280 x 720, video of 1920 x 1080 at 25 frames/s."
        yield table(("", ""), rows)


def _tried(read: Callable[[Parts], str], parts: Parts) -> str:
    """Empty where its part was not measured."""
    try:
        return read(parts)
    except (KeyError, IndexError, ValueError):
        return ""


def _cameras_per_core(parts: Parts) -> str:
    line = line_of(rounds_of(parts, "many cameras"), "cores")
    return f"**{1 / line.slope:.0f}** ({100 * line.slope:.1f} % of a core each)"


def _video_per_core(parts: Parts) -> str:
    rounds = rounds_of(parts, "camera pipe")
    counts = sorted(rounds[0], key=int)
    few, many = (median_of(rounds, n, DAEMON, "cores") for n in (counts[0], counts[-1]))
    share = (many - few) / (int(counts[-1]) - int(counts[0]))
    return f"**{1 / share:.0f}** ({100 * share:.1f} % of a core each)"


def _memory(parts: Parts) -> str:
    cameras = line_of(rounds_of(parts, "many cameras"), "pss_mib")
    models = line_of(rounds_of(parts, "many models"), "pss_mib")
    one = median_of(rounds_of(parts, "many cameras"), "1", "pss_mib")
    return (
        f"**{one:.0f} MiB** with one camera of pictures; {cameras.slope:.1f} MiB for each further one, "
        f"{models.slope:.0f} MiB for each further model with its camera"
    )


def _video_memory(parts: Parts) -> str:
    rounds = rounds_of(parts, "camera pipe")
    counts = sorted(rounds[0], key=int)
    few, many = (median_of(rounds, n, DAEMON, "pss_mib") for n in (counts[0], counts[-1]))
    each = (many - few) / (int(counts[-1]) - int(counts[0]))
    return f"**{few:.0f} MiB** with one; {each:.0f} MiB for each further one"


def _start(parts: Parts) -> str:
    rounds = rounds_of(parts, "start")
    known, new = (median_of(rounds, name) for name in ("first_result_s", "new_model_s"))
    return f"**{known:.2f} s**; {new:.2f} s when the model is new to the box and is tried in a sandbox first"


def _latency(parts: Parts) -> str:
    rounds = rounds_of(parts, "arrival")
    p50, p99 = (median_of(rounds, f"subscriber_{p}_ms") for p in ("p50", "p99"))
    return f"**{p50:.1f} ms** in the median, p99 {p99:.1f} ms"


def _rate(parts: Parts) -> str:
    rounds = [one["contenders"][own.FOLDER] for one in rounds_of(parts, "peers")]
    one, two = (median_of(rounds, n, "frames_per_s") for n in ("1", "2"))
    return f"**{two:.0f} frames/s** from two streams, {one:.0f} from one"


def _idle(parts: Parts) -> str:
    share = median_of(rounds_of(parts, "quiet"), "idle_share")
    return f"{100 * share:.1f} % of a core"


_ROWS: dict[str, Callable[[Parts], str]] = {
    f"cameras a core at {FPS:g} frames/s, pictures (folder, HTTP, MQTT)": _cameras_per_core,
    f"the same, 1080p25 H.264 of which {FPS:g} frames/s are used": _video_per_core,
    "memory of the box": _memory,
    "memory with H.264 cameras": _video_memory,
    "start to first result": _start,
    "capture to an MQTT subscriber at 30 frames/s": _latency,
    f"as fast as it goes on {short(2)} cores": _rate,
    "idle": _idle,
}
