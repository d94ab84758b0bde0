"""Machines that are network namespaces of this one, each with files of its own in some places. They need root."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

WAIT_S = 300.0
PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mosquitto": "mosquitto",
    "mosquitto_rr": "mosquitto-clients",
    "docker-registry": "docker-registry",
    "openssl": "openssl",
    "curl": "curl",
}
"""What the trial runs, and the Debian packages they come from."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Unusable(Exception):
    """This computer cannot run the trial; the text says what is missing."""


def require_programs() -> None:
    """Check what the trial needs.

    Raises:
        Unusable: not root, or a program is missing.
    """
    if os.geteuid() != 0:
        raise Unusable("network namespaces need root: run it with sudo")
    missing = sorted(package for name, package in PROGRAMS.items() if shutil.which(name, path=_PATH) is None)
    if missing:
        raise Unusable(f"install the Debian packages {', '.join(missing)}")


class Machine:
    """One namespace for network and mounts. Its processes end with it."""

    def __init__(self, name: str, folder: Path, hosts: Mapping[str, str]) -> None:
        """Its ``folder`` is new; ``hosts`` are the addresses of names."""
        folder.mkdir()
        self.name, self.folder = name, folder
        self._holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
        self._processes: list[subprocess.Popen[bytes]] = []
        (folder / "hosts").write_text(
            "".join(f"{address} {host}\n" for host, address in {"localhost": "127.0.0.1", **hosts}.items())
        )
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self._wait_for_namespace()
            self.do("ip", "link", "set", "lo", "up")
            self.mount(folder / "hosts", "/etc/hosts")
            on_failure.pop_all()

    def _wait_for_namespace(self) -> None:
        """``unshare`` has entered it when its network is not ours any more."""
        ours = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self._holder.pid}/ns/net").readlink() == ours:
            if self._holder.poll() is not None:
                raise Unusable("'unshare --net --mount' does not work here")
            os.sched_yield()

    @property
    def pid(self) -> int:
        """Of the process that holds the namespace."""
        return self._holder.pid

    def mount(self, source: Path, target: str) -> None:
        """Show a file or folder of ours in another place, on this machine only."""
        self.do("mount", "--bind", str(source), target)

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, timeout_s: float = WAIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, with nothing of our environment.

        Raises:
            Unusable: it did not end in time.
        """
        try:
            return subprocess.run(
                self._enter(words), env=self._env(env), capture_output=True, text=True, timeout=timeout_s, check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired as err:
            raise Unusable(f"{self.name}: {words[0]} did not end within {timeout_s:g} s") from err

    def do(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """What a program prints that must succeed.

        Raises:
            Unusable: it did not.
        """
        done = self.run(*words, env=env)
        if done.returncode:
            raise Unusable(f"{self.name}: {' '.join(words)[:500]}: {done.stderr.strip()[-1000:]}")
        return done.stdout

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> None:
        """Start a server; its output goes to ``NAME.log`` in the folder."""
        with self.log_of(words[0]).open("ab") as log:
            process = subprocess.Popen(self._enter(words), env=self._env(env), stdout=log, stderr=log)
        self._processes.append(process)

    def log_of(self, program: str) -> Path:
        """Where the output of a server is."""
        return self.folder / f"{Path(program).name}.log"

    def _enter(self, words: Sequence[str]) -> list[str]:
        into = ["nsenter", "--target", str(self.pid), "--net", "--mount"]
        return [*into, "sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *words]

    def _env(self, more: Mapping[str, str] | None) -> dict[str, str]:
        return {"PATH": _PATH, "HOME": str(self.folder), "LANG": "C.UTF-8", **(more or {})}

    def stop(self) -> None:
        """End its processes, those started last first."""
        for process in [*reversed(self._processes), self._holder]:
            process.terminate()
            try:
                process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def machines(folder: Path, hosts: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, Machine]]:
    """A machine for each name; ``hosts`` says which names each one knows. All are stopped in the end."""
    running: dict[str, Machine] = {}
    try:
        for name, known in hosts.items():
            running[name] = Machine(name, folder / name, known)
        yield running
    finally:
        for machine in reversed(running.values()):
            machine.stop()


def connect(one: Machine, one_address: str, other: Machine, other_address: str) -> None:
    """A cable between two machines, with an address (``10.0.0.1``) for each end, in a network of 256.

    Raises:
        Unusable: no such cable can be made here.
    """
    ends = [(one, one_address, f"to-{other.name}"), (other, other_address, f"to-{one.name}")]
    (here, _, near), (there, _, far) = ends
    cable = f"ip link add {near} netns {here.pid} type veth peer name {far} netns {there.pid}"
    done = subprocess.run(cable.split(), capture_output=True, text=True, timeout=WAIT_S, check=False)
    if done.returncode:
        raise Unusable(f"{cable}: {done.stderr.strip()}")
    for machine, address, device in ends:
        machine.do("ip", "address", "add", f"{address}/24", "dev", device)
        machine.do("ip", "link", "set", device, "up")
