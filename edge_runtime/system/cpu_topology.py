"""Which logical CPUs are one physical core, and which cores are weaker than others (big.LITTLE, P and E cores).

Two threads of one core share its arithmetic units, and a call that is cut over strong and weak cores waits for the
weakest. Reads ``sys`` below a root, for the given CPUs, so that a folder can describe any box. Where the kernel
gives no facts, the cores count as equal, with one thread each.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

_CPUS = "sys/devices/system/cpu"
# The E cores of x86; their lower frequency is only half of the difference.
_EFFICIENT = "sys/devices/cpu_atom/cpus"
_MOST_CPUS = 8192  # the most that Linux is built for; a list of CPUs from a file never makes more than these

LITTLE_BELOW_CAPACITY = 0.65
"""Share of the strongest core's ``cpu_capacity``. Known pairs: A53 with A73 0.58, A55 with A76 0.4; the middle
cores of a phone chip have 0.75 and more of its largest one."""
LITTLE_BELOW_FREQUENCY = 0.82
"""Share of the highest frequency, where there is nothing better. It hides that little cores also do less a cycle: 1.8
of 2.4 GHz is a third to a half of the work. Equal cores differ by up to a tenth (favoured cores)."""


@dataclass(frozen=True, slots=True)
class Core:
    """One physical core."""

    cpus: tuple[int, ...]
    """Its logical CPUs that this process may use, lowest first; at least one."""
    is_little: bool


@dataclass(frozen=True, slots=True)
class CpuTopology:
    """The physical cores that a process may use; strongest kind first, then by number."""

    cores: tuple[Core, ...]

    @property
    def big(self) -> tuple[Core, ...]:
        """The cores of the strongest kind; all of them where they are equal."""
        return tuple(core for core in self.cores if not core.is_little)

    @property
    def little(self) -> tuple[Core, ...]:
        """The weaker ones."""
        return tuple(core for core in self.cores if core.is_little)

    @property
    def is_smt(self) -> bool:
        """Whether a core offers two threads to this process."""
        return any(len(core.cpus) > 1 for core in self.cores)

    def __str__(self) -> str:
        kinds = f"{len(self.big)} big + {len(self.little)} little cores" if self.little else ""
        words = kinds or (f"{len(self.cores)} core" + ("s" if len(self.cores) != 1 else ""))
        return f"{words} ({sum(len(core.cpus) for core in self.cores)} threads)" if self.is_smt else words


def cpu_topology(root: Path, allowed: Collection[int]) -> CpuTopology:
    """The physical cores behind the logical CPUs ``allowed`` (at least one); ``root`` holds ``sys``."""
    groups = sorted({_siblings(root, cpu, allowed) for cpu in allowed})
    weak = _little(root, allowed)
    cores = (Core(cpus, is_little=all(cpu in weak for cpu in cpus)) for cpus in _disjoint(groups))
    return CpuTopology(tuple(sorted(cores, key=lambda core: (core.is_little, core.cpus))))


def cpu_list(text: str) -> frozenset[int]:
    """CPU numbers as the kernel writes them: ``0-3,8``; any other text is no CPU."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return frozenset()
        end = int(last) if dash else int(first)
        if end >= _MOST_CPUS:
            return frozenset()
        found.update(range(int(first), end + 1))
    return frozenset(found)


def _siblings(root: Path, cpu: int, allowed: Collection[int]) -> tuple[int, ...]:
    folder = root / _CPUS / f"cpu{cpu}" / "topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # the second is the older kernels' name
        together = cpu_list(text_of(folder / name))
        if cpu in together:
            return tuple(sorted(together.intersection(allowed)))
    return (cpu,)


def _disjoint(groups: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Each CPU in one core only, even if the files contradict each other."""
    seen: set[int] = set()
    kept = []
    for cpus in groups:
        if seen.isdisjoint(cpus):
            kept.append(cpus)
            seen.update(cpus)
    return [*kept, *((cpu,) for cpus in groups for cpu in cpus if cpu not in seen)]


def _little(root: Path, allowed: Collection[int]) -> frozenset[int]:
    """The weaker CPUs; none where all are weak, or where the strength of any is unknown."""
    named = cpu_list(text_of(root / _EFFICIENT)).intersection(allowed)
    if named:
        return named if len(named) < len(allowed) else frozenset()
    for name, limit in (
        ("cpu_capacity", LITTLE_BELOW_CAPACITY),
        ("cpufreq/cpuinfo_max_freq", LITTLE_BELOW_FREQUENCY),
    ):
        strength = {cpu: _number(root / _CPUS / f"cpu{cpu}" / name) for cpu in allowed}
        if all(strength.values()):
            strongest = max(strength.values())
            return frozenset(cpu for cpu, value in strength.items() if value < limit * strongest)
    return frozenset()


def _number(path: Path) -> int:
    text = text_of(path).strip()
    return int(text) if text.isdecimal() and len(text) < 16 else 0


def text_of(path: Path) -> str:
    """The text of a file of the kernel; empty where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
