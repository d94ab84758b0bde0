"""Memory and processor time of a process with all its children, from outside."""

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """The process and everything it started that is still there."""
    own = psutil.Process(pid)
    return [own, *own.children(recursive=True)]


def pss_mib(pid: int) -> float:
    """Proportional memory of the tree: pages that several processes share count once, MiB."""
    total = 0
    for process in tree(pid):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def cpu_s(pid: int) -> float:
    """Processor time of the tree so far, user and system, seconds."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def end(pid: int) -> None:
    """End the tree: asked first, by force after 10 s."""
    processes = tree(pid)
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    for process in psutil.wait_procs(processes, timeout=10)[1]:
        process.kill()
