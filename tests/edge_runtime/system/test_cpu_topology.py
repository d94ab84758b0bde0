"""Boxes are described as folders: what the kernel of each one shows below /sys."""

from pathlib import Path

import pytest

from edge_runtime.system.cpu_topology import Core, cpu_list, cpu_topology

CPUS = "sys/devices/system/cpu"


def box(
    root: Path,
    cpus: int,
    siblings: dict[int, str] | None = None,
    capacity: dict[int, int] | None = None,
    khz: dict[int, int] | None = None,
    name: str = "thread_siblings_list",
) -> Path:
    """Write a fake /sys; what is None is missing."""
    for cpu in range(cpus):
        folder = root / CPUS / f"cpu{cpu}"
        (folder / "topology").mkdir(parents=True)
        (folder / "cpufreq").mkdir()
        if siblings is not None:
            (folder / "topology" / name).write_text(siblings[cpu] + "\n")
        if capacity is not None:
            (folder / "cpu_capacity").write_text(f"{capacity[cpu]}\n")
        if khz is not None:
            (folder / "cpufreq/cpuinfo_max_freq").write_text(f"{khz[cpu]}\n")
    return root


def equal(*cores: tuple[int, ...]) -> tuple[Core, ...]:
    return tuple(Core(cpus, is_little=False) for cpus in cores)


def test_two_core_virtual_machine(tmp_path: Path) -> None:
    found = cpu_topology(box(tmp_path, 2, {0: "0", 1: "1"}), {0, 1})
    assert found.cores == equal((0,), (1,))
    assert (found.is_smt, found.little, str(found)) == (False, (), "2 cores")


@pytest.mark.parametrize("name", ["thread_siblings_list", "core_cpus_list"])
def test_threads_of_one_core_count_once(tmp_path: Path, name: str) -> None:
    siblings = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    found = cpu_topology(box(tmp_path, 8, siblings, name=name), range(8))
    assert found.cores == equal((0, 4), (1, 5), (2, 6), (3, 7))
    assert str(found) == "4 cores (8 threads)"


def test_a_virtual_machine_of_two_threads_is_one_core(tmp_path: Path) -> None:
    assert cpu_topology(box(tmp_path, 2, {0: "0-1", 1: "0-1"}), {0, 1}).cores == equal((0, 1))


def test_only_what_the_affinity_allows(tmp_path: Path) -> None:
    siblings = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    assert cpu_topology(box(tmp_path, 8, siblings), {1, 2, 6}).cores == equal((1,), (2, 6))


def test_rk3588_by_capacity(tmp_path: Path) -> None:
    capacity = {**dict.fromkeys(range(4), 414), **dict.fromkeys(range(4, 8), 1024)}
    found = cpu_topology(box(tmp_path, 8, {c: str(c) for c in range(8)}, capacity), range(8))
    assert [core.cpus for core in found.big] == [(4,), (5,), (6,), (7,)]
    assert [core.cpus for core in found.little] == [(0,), (1,), (2,), (3,)]
    assert str(found) == "4 big + 4 little cores"


def test_rk3588_by_frequency(tmp_path: Path) -> None:
    khz = {
        **dict.fromkeys(range(4), 1_800_000),
        **dict.fromkeys((4, 5), 2_256_000),
        **dict.fromkeys((6, 7), 2_304_000),
    }
    found = cpu_topology(box(tmp_path, 8, khz=khz), range(8))
    assert [core.cpus for core in found.big] == [(4,), (5,), (6,), (7,)]


def test_little_cores_alone_do_not_count_as_little(tmp_path: Path) -> None:
    capacity = {**dict.fromkeys(range(4), 414), **dict.fromkeys(range(4, 8), 1024)}
    assert cpu_topology(box(tmp_path, 8, capacity=capacity), {0, 1}).cores == equal((0,), (1,))


def test_efficient_cores_of_x86_are_named_by_the_kernel(tmp_path: Path) -> None:
    siblings = {0: "0-1", 1: "0-1", 2: "2", 3: "3"}
    root = box(tmp_path, 4, siblings, khz={0: 4_800_000, 1: 4_800_000, 2: 4_000_000, 3: 4_000_000})
    (root / "sys/devices/cpu_atom").mkdir()
    (root / "sys/devices/cpu_atom/cpus").write_text("2-3\n")
    found = cpu_topology(root, range(4))
    assert (found.big, found.little) == (
        (Core((0, 1), is_little=False),),
        (Core((2,), is_little=True), Core((3,), is_little=True)),
    )
    assert str(found) == "1 big + 2 little cores (4 threads)"


def test_a_phone_chip_of_three_kinds_has_its_middle_cores_with_the_large_one(tmp_path: Path) -> None:
    capacity = dict(enumerate([325, 325, 325, 325, 870, 870, 870, 1024]))
    assert [core.cpus for core in cpu_topology(box(tmp_path, 8, capacity=capacity), range(8)).big] == [
        (4,),
        (5,),
        (6,),
        (7,),
    ]


def test_raspberry_pi_has_four_equal_cores(tmp_path: Path) -> None:
    four = {c: str(c) for c in range(4)}
    root = box(tmp_path, 4, four, dict.fromkeys(four, 1024), dict.fromkeys(four, 1_800_000))
    assert cpu_topology(root, range(4)).cores == equal((0,), (1,), (2,), (3,))


def test_favoured_cores_are_no_other_kind(tmp_path: Path) -> None:
    khz = dict(enumerate([5_700_000, 5_700_000, 5_350_000, 5_200_000]))
    assert not cpu_topology(box(tmp_path, 4, khz=khz), range(4)).little


def test_without_files_all_are_equal(tmp_path: Path) -> None:
    assert cpu_topology(tmp_path, {2, 5}).cores == equal((2,), (5,))


def test_a_strength_that_is_missing_for_one_says_nothing(tmp_path: Path) -> None:
    root = box(tmp_path, 3, capacity={0: 1024, 1: 300, 2: 300})
    (root / CPUS / "cpu2/cpu_capacity").unlink()
    assert not cpu_topology(root, range(3)).little


@pytest.mark.parametrize("text", ["", "x", "1-", "5", "0-99999999999", "0,,1", "-1"])
def test_sibling_files_that_make_no_sense_are_left_out(tmp_path: Path, text: str) -> None:
    assert cpu_topology(box(tmp_path, 2, {0: text, 1: text}), {0, 1}).cores == equal((0,), (1,))


def test_no_cpu_is_in_two_cores(tmp_path: Path) -> None:
    found = cpu_topology(box(tmp_path, 3, {0: "0-1", 1: "1-2", 2: "2"}), range(3))
    assert sorted(cpu for core in found.cores for cpu in core.cpus) == [0, 1, 2]


def test_lists_as_the_kernel_writes_them() -> None:
    assert cpu_list("0-2,8,10-11\n") == {0, 1, 2, 8, 10, 11}
