from pathlib import Path

import pytest

from edge_runtime.engines.threads import CpuBudget, choose_threads, cpu_budget


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_it_is_the_affinity(tmp_path: Path) -> None:
    budget = cpu_budget(tmp_path, affinity=6)
    assert (budget.cores, budget.quota) == (6, None)
    assert "6 cores" in budget.source


def test_v2_quota_of_the_own_group(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"})
    assert cpu_budget(root, affinity=4).cores == 1.5


def test_the_tightest_parent_holds(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "proc/self/cgroup": "0::/system.slice/edge.service\n",
        "sys/fs/cgroup/system.slice/edge.service/cpu.max": "max 100000\n",
        "sys/fs/cgroup/system.slice/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/cpu.max": "400000 100000\n",
    })  # fmt: skip
    budget = cpu_budget(root, affinity=8)
    assert budget.cores == 2
    assert "system.slice/cpu.max" in budget.source


def test_container_whose_group_is_the_mount(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"proc/self/cgroup": "0::/docker/x/../y\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}
    )
    assert cpu_budget(root, affinity=8).cores == 0.5
    assert cpu_budget(root, affinity=8).whole_cores == 1


def test_v1_quota(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/x\n0::/\n",
        "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert cpu_budget(root, affinity=4).cores == 2.5


def test_a_quota_above_the_affinity_does_not_count(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "900000 100000\n"})
    assert cpu_budget(root, affinity=3).cores == 3


@pytest.mark.parametrize("text", ["", "garbage", "max", "100000 0", "x y", "-1 100000"])
def test_unreadable_quota_is_no_quota(tmp_path: Path, text: str) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})
    assert cpu_budget(root, affinity=2).quota is None


def test_this_machine_has_a_budget() -> None:
    assert cpu_budget().cores > 0


@pytest.mark.parametrize(
    ("cores", "streams", "preference", "intra", "workers"),
    [
        (4.0, 1, "auto", 4, 1),
        (4.0, 2, "auto", 2, 2),
        (4.0, 9, "auto", 1, 4),
        (2.0, 2, "auto", 1, 2),
        (0.5, 3, "auto", 1, 1),
        (1.5, 1, "auto", 1, 1),
        (4.0, 0, "auto", 4, 1),
        (4.0, 3, "latency", 4, 1),
        (4.0, 1, "throughput", 1, 4),
        (4.0, 1, 2, 2, 2),
        (2.0, 1, 8, 8, 1),
    ],
)
def test_thread_plans(cores: float, streams: int, preference: int | str, intra: int, workers: int) -> None:
    plan = choose_threads(CpuBudget(cores, 4, None, "test"), streams, preference)  # type: ignore[arg-type]
    assert (plan.intra, plan.workers) == (intra, workers)
    assert "test" in plan.why
