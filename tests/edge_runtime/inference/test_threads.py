import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.inference.engines.threads import (
    CpuBudget,
    ThreadPlan,
    bind_this_thread,
    choose_threads,
    cpu_budget,
)
from edge_runtime.system.cpu_topology import Core, CpuTopology


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_it_is_the_affinity(tmp_path: Path) -> None:
    budget = cpu_budget(tmp_path, affinity=range(6))
    assert (budget.cores, budget.quota) == (6, None)
    assert "6 cores" in budget.source


def test_v2_quota_of_the_own_group(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"})
    assert cpu_budget(root, affinity=range(4)).cores == 1.5


def test_the_quota_of_another_process(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "proc/self/cgroup": "0::/shell\n",
        "proc/4711/cgroup": "0::/daemon\n",
        "sys/fs/cgroup/daemon/cpu.max": "150000 100000\n",
    })  # fmt: skip
    assert cpu_budget(root, affinity=range(4), pid=4711).cores == 1.5
    assert cpu_budget(root, affinity=range(4)).cores == 4


def test_the_tightest_parent_holds(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "proc/self/cgroup": "0::/system.slice/edge.service\n",
        "sys/fs/cgroup/system.slice/edge.service/cpu.max": "max 100000\n",
        "sys/fs/cgroup/system.slice/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/cpu.max": "400000 100000\n",
    })  # fmt: skip
    budget = cpu_budget(root, affinity=range(8))
    assert budget.cores == 2
    assert "system.slice/cpu.max" in budget.source


def test_container_whose_group_is_the_mount(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"proc/self/cgroup": "0::/docker/x/../y\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}
    )
    assert cpu_budget(root, affinity=range(8)).cores == 0.5
    assert cpu_budget(root, affinity=range(8)).most_threads == 1


def test_v1_quota(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/x\n0::/\n",
        "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert cpu_budget(root, affinity=range(4)).cores == 2.5


V1_HALF = {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("own", "mounts", "folder"),
    [
        (
            "4:cpuacct,cpu:/x",
            "33 24 0:30 / {0} rw - cgroup cgroup rw,cpu,cpuacct",
            "sys/fs/cgroup/cpu,cpuacct",
        ),
        (
            "4:cpu,cpuacct:/x",
            "33 24 0:30 / {0} rw - cgroup cgroup rw,cpuacct,cpu",
            "sys/fs/cgroup/cpuacct,cpu",
        ),
        ("4:cpu,cpuacct:/x", "33 24 0:30 / {0} rw - cgroup cpu rw,cpu,cpuacct", "dev/cgroup/processor"),
        ("4:cpu,cpuacct:/x", "", "sys/fs/cgroup/cpuacct,cpu"),
        ("4:cpu:/x", "33 24 0:30 / {0} rw shared:9 - cgroup cgroup rw,cpu", "my\\040groups"),
        (
            "4:cpu:/docker/1/x",
            "33 24 0:30 /docker/1 {0} ro,nosuid - cgroup cgroup rw,cpu",
            "sys/fs/cgroup/cpu",
        ),
    ],
)
def test_v1_quota_wherever_its_controller_is_mounted(
    tmp_path: Path, own: str, mounts: str, folder: str
) -> None:
    place = folder.replace("\\040", " ")
    others = "31 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\ngarbage\n - \n"
    root = write(tmp_path, {
        "proc/self/cgroup": f"5:memory:/m\n{own}\n0::/\n",
        "proc/self/mountinfo": others + mounts.format(f"/{folder}") + "\n" if mounts else "",
        **{f"{place}/x/{name}": text for name, text in V1_HALF.items()},
    })  # fmt: skip
    assert cpu_budget(root, affinity=range(4)).quota == 0.5


@pytest.mark.parametrize(
    ("own", "mounts", "file"),
    [
        ("0::/a", "31 24 0:27 / /cgroup2 rw - cgroup2 cgroup2 rw", "cgroup2/a"),
        ("0::/a/b", "31 24 0:27 /a /sys/fs/cgroup rw - cgroup2 none rw,nsdelegate", "sys/fs/cgroup/b"),
        ("0::/a", "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw", "sys/fs/cgroup/unified"),
    ],
)
def test_v2_quota_wherever_it_is_mounted(tmp_path: Path, own: str, mounts: str, file: str) -> None:
    root = write(tmp_path, {
        "proc/self/cgroup": f"{own}\n", "proc/self/mountinfo": f"{mounts}\n", f"{file}/cpu.max": "150000 100000\n",
    })  # fmt: skip
    budget = cpu_budget(root, affinity=range(4))
    assert budget.quota == 1.5
    assert f"/{file}/cpu.max" in budget.source


def test_what_is_mounted_elsewhere_is_not_looked_for_where_it_usually_is(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": "31 24 0:27 / /cgroup2 rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
    })  # fmt: skip
    assert cpu_budget(root, affinity=range(4)).quota is None


def test_a_quota_above_the_affinity_does_not_count(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "900000 100000\n"})
    assert cpu_budget(root, affinity=range(3)).cores == 3


@pytest.mark.parametrize("text", ["", "garbage", "max", "100000 0", "x y", "-1 100000"])
def test_unreadable_quota_is_no_quota(tmp_path: Path, text: str) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})
    assert cpu_budget(root, affinity=range(2)).quota is None


def test_this_machine_has_a_budget() -> None:
    assert cpu_budget().cores > 0


def smt(cores: int) -> CpuTopology:
    """Cores of two threads each, numbered as Linux does: first threads first."""
    return CpuTopology(tuple(Core((at, at + cores), is_little=False) for at in range(cores)))


def equal(cores: int) -> CpuTopology:
    return CpuTopology(tuple(Core((at,), is_little=False) for at in range(cores)))


RK3588 = CpuTopology(
    (
        *(Core((at,), is_little=False) for at in (4, 5, 6, 7)),
        *(Core((at,), is_little=True) for at in range(4)),
    )
)


def budget(topology: CpuTopology, quota: float | None = None) -> CpuBudget:
    threads = sum(len(core.cpus) for core in topology.cores)
    cores = float(threads) if quota is None else min(quota, float(threads))
    return CpuBudget(cores, threads, quota, "test", topology)


@pytest.mark.parametrize(
    ("cores", "quota", "streams", "preference", "intra", "workers"),
    [
        (4, None, 1, "auto", 4, 1),
        (4, None, 2, "auto", 2, 2),
        (4, None, 9, "auto", 1, 4),
        (2, None, 2, "auto", 1, 2),
        (4, 0.5, 3, "auto", 1, 1),
        (4, 1.5, 1, "auto", 1, 1),
        (2, 1.0, 1, "auto", 1, 1),
        (2, 1.0, 1, "latency", 1, 1),
        (2, 1.0, 2, "throughput", 1, 1),
        (8, 3.2, 1, "latency", 3, 1),
        (4, None, 0, "auto", 4, 1),
        (4, None, 3, "latency", 4, 1),
        (4, None, 1, "throughput", 1, 4),
        (4, None, 1, 2, 2, 2),
        (2, None, 1, 8, 8, 1),
    ],
)
def test_thread_plans(
    cores: int, quota: float | None, streams: int, preference: int | str, intra: int, workers: int
) -> None:
    plan = choose_threads(budget(equal(cores), quota), streams, preference)  # type: ignore[arg-type]
    assert (plan.intra, plan.workers) == (intra, workers)
    assert "test" in plan.why


@pytest.mark.parametrize("streams", range(7))
@pytest.mark.parametrize("preference", ["auto", "latency", "throughput"])
@pytest.mark.parametrize("quota", [None, 0.3, 1.0, 2.5, 5.0])
@pytest.mark.parametrize("topology", [equal(1), equal(2), smt(1), smt(4), RK3588])
def test_never_more_threads_than_cores_or_quota(
    topology: CpuTopology, quota: float | None, preference: Any, streams: int
) -> None:
    plan = choose_threads(budget(topology, quota), streams, preference)
    threads = plan.intra * plan.workers
    assert 1 <= threads <= len(topology.cores)
    assert quota is None or threads <= max(1, int(quota))
    assert len(set(plan.cpus)) == threads


def test_threads_of_one_core_are_not_two_cores() -> None:
    plan = choose_threads(budget(smt(4)), 1)
    assert (plan.intra, plan.workers, plan.cpus) == (4, 1, (0, 1, 2, 3))


def test_more_threads_by_hand_use_the_second_threads_of_the_cores() -> None:
    assert choose_threads(budget(smt(2)), 1, 4).cpus == (0, 1, 2, 3)
    assert choose_threads(budget(smt(2)), 1, 3).cpus == (0, 1, 2)


def test_a_call_is_not_cut_over_strong_and_weak_cores() -> None:
    plan = choose_threads(budget(RK3588), 1)
    assert (plan.intra, plan.workers, plan.cpus, plan.is_big_only) == (4, 1, (4, 5, 6, 7), True)


def test_weak_cores_run_calls_of_their_own_for_throughput() -> None:
    plan = choose_threads(budget(RK3588), 8, "throughput")
    assert (plan.intra, plan.workers, plan.cpus) == (1, 8, (4, 5, 6, 7, 0, 1, 2, 3))
    assert not plan.is_big_only


@pytest.mark.parametrize(("preference", "quota"), [("throughput", 3.0), ("throughput", 4.0), (4, None)])
def test_a_plan_that_came_to_strong_cores_only_says_so(preference: Any, quota: float | None) -> None:
    plan = choose_threads(budget(RK3588, quota), 8, preference)
    assert set(plan.cpus) <= {4, 5, 6, 7}
    assert plan.is_big_only


@pytest.mark.parametrize(("topology", "before"), [(equal(4), 0), (RK3588, 4)])
def test_a_plan_with_weak_cores_or_none_to_avoid_is_not_called_big_only(
    topology: CpuTopology, before: int
) -> None:
    plan = choose_threads(budget(topology, 2.0), 8, "throughput", streams_before=before)
    assert not plan.is_big_only


def test_a_number_above_the_strong_cores_is_obeyed() -> None:
    plan = choose_threads(budget(RK3588), 1, 6)
    assert (plan.intra, plan.workers, plan.cpus) == (6, 1, (4, 5, 6, 7, 0, 1))


def test_two_models_share_the_cores() -> None:
    one = choose_threads(budget(equal(4)), 1, other_streams=1)
    other = choose_threads(budget(equal(4)), 1, other_streams=1, streams_before=1)
    assert (one.intra, one.workers, other.intra, other.workers) == (2, 1, 2, 1)
    assert (one.cpus, other.cpus) == ((0, 1), (2, 3))
    assert "and 1 of other models" in other.why


def test_models_with_many_streams_get_workers_by_their_share() -> None:
    shares = [
        choose_threads(budget(equal(4)), 2, other_streams=6),
        choose_threads(budget(equal(4)), 6, other_streams=2),
    ]
    assert [(plan.intra, plan.workers) for plan in shares] == [(1, 1), (1, 3)]


def test_workers_have_cpus_side_by_side() -> None:
    plan = choose_threads(budget(equal(4)), 2)
    assert [plan.cpus_of(worker) for worker in range(2)] == [(0, 1), (2, 3)]
    assert ThreadPlan(2, 2, "no cores known").cpus_of(1) == ()
    assert ThreadPlan(4, 1, "more threads than CPUs", (0, 1)).cpus_of(0) == (0, 1)


def test_a_bound_thread_runs_where_it_was_told_and_others_do_not_notice() -> None:
    before, cpu = os.sched_getaffinity(0), max(os.sched_getaffinity(0))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(bind_this_thread, [cpu]).result()
        assert pool.submit(os.sched_getaffinity, 0).result() == {cpu}
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_there_cannot_be_bound_to() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError):
        pool.submit(bind_this_thread, [4095]).result()
