"""``edge-runtime init``: the command and its questions."""

import os
import re
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from edge_runtime.cli.free_port import find_free_port
from edge_runtime.cli.init.bundle_input import takes_windows
from edge_runtime.cli.init.draft import Draft, hide_password, write_text
from edge_runtime.cli.init.find_cameras import find_cameras
from edge_runtime.cli.init.network_cameras import WAIT_S, find_network_cameras
from edge_runtime.cli.options import EXISTING_FILE, JSON, PATH, print_answer
from edge_runtime.cli.progress import Progress

_DEMO_BUNDLE, _DEMO_CAMERA = "demo:efficientnet-lite0", "demo:conveyor"
_NAMED = re.compile(r"([A-Za-z0-9_-]{1,64})=(.+)", re.DOTALL)
_FIRST_PORT = 8080


@click.command()
@click.argument("file", type=PATH)
@click.option("--device", help="Name of this box; else that of the host.")
@click.option("--bundle", help=f"Name of an installed bundle, a folder, or {_DEMO_BUNDLE}.")
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="[NAME=]ADDRESS",
    help="rtsp://..., http://..., /dev/video0, a folder, a video; may be given again. Else those of this box.",
)
@click.option(
    "--network/--no-network",
    default=True,
    help="Ask the network for cameras (ONVIF, 3 s), where no --camera is given. Their addresses become comments.",
)
@click.option("--broker", metavar="HOST[:PORT]", help="MQTT broker; without one results go to a file.")
@click.option("--user", help="At the broker. The password belongs into the environment: EDGE_MQTT_PASSWORD.")
@click.option("--ca", type=EXISTING_FILE, help="PEM file of the broker's authority: turns TLS on.")
@click.option("--state-dir", type=PATH, help="Else /var/lib/edge-runtime for root, and state next to FILE.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@JSON
def init(
    file: Path,
    device: str | None,
    bundle: str | None,
    cameras: tuple[str, ...],
    broker: str | None,
    user: str | None,
    ca: Path | None,
    state_dir: Path | None,
    *,
    network: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Write a first configuration to FILE, with comments.

    A file that is there is never overwritten. At a terminal it asks for what was not given. Cameras of this box are
    found, and those of the network that answer to ONVIF. A model of signals gets a sensor in their place.
    """
    if os.path.lexists(file):
        raise click.UsageError(f"{file} is there already; choose another name, or edit it")
    if (user is not None or ca is not None) and broker is None:
        raise click.UsageError("--user and --ca are for a broker; give --broker too")
    asks = not yes and sys.stdin.isatty()
    state_dir = state_dir or (Path("/var/lib/edge-runtime") if os.geteuid() == 0 else Path("state"))
    device = device or _ask("Name of this box", _name_host(), asks=asks)
    bundle = bundle or _ask("Bundle", _find_bundle(file.parent / state_dir), asks=asks)
    if broker is None and asks:
        broker = (
            click.prompt("MQTT broker HOST[:PORT], empty for none", default="", show_default=False) or None
        )
        if broker is not None:
            user = click.prompt("User at the broker, empty for none", default="", show_default=False) or None
    is_of_sensors = takes_windows(bundle, file.parent, state_dir)
    if is_of_sensors and cameras:
        raise click.UsageError(f"--camera: {bundle} takes windows of a sensor, not pictures")
    hints = _find_hints() if network and not cameras and not is_of_sensors else {}
    named = {} if is_of_sensors else _name_cameras(cameras or _choose_cameras(asks=asks))
    hidden = {name: hide_password(name, address) for name, address in named.items()}
    variables = tuple(variable for _, variable in hidden.values() if variable is not None)
    addresses = {name: address for name, (address, _) in hidden.items()}
    draft = Draft(
        device,
        state_dir,
        bundle,
        addresses,
        find_free_port("127.0.0.1", _FIRST_PORT),
        broker,
        user,
        ca and ca.resolve(),
        variables,
        hints,
        _choose_sensor(broker) if is_of_sensors else None,
    )
    _write(file, draft)
    report = {
        "config": str(file),
        "cameras": list(addresses),
        "found_on_network": [{"address": address, "name": name} for address, name in hints.items()],
        "port": draft.port,
        "secrets": list(draft.secrets),
    }
    print_answer(report, as_json, _describe(file, draft))
    return 0


def _ask(question: str, default: str, *, asks: bool) -> str:
    return str(click.prompt(question, default=default)) if asks else default


def _name_host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().partition(".")[0])[:64] or "box"


def _find_bundle(state_dir: Path) -> str:
    """One that is installed; else the one that ships."""
    try:
        installed = sorted(path.name for path in (state_dir / "bundles").glob("[!.]*/"))
    except OSError:
        installed = []
    return installed[0] if installed else _DEMO_BUNDLE


def _choose_sensor(broker: str | None) -> str:
    return "-" if broker is None else "mqtt"


def _find_hints() -> dict[str, str]:
    """Likely addresses of cameras on the network, and their names."""
    with Progress() as progress:
        progress.begin(f"asking the network for cameras, {WAIT_S:g} s")
        found = {one.address_hint: one.name for one in find_network_cameras()}
    for address, name in found.items():
        click.echo(f"found {address} {name}".rstrip(), err=True)
    return found


def _choose_cameras(*, asks: bool) -> list[str]:
    """The cameras of this box; the built-in one where there is none."""
    found = find_cameras()
    for camera in found:
        click.echo(f"found {camera.path} {camera.card}".rstrip(), err=True)
    if asks:
        default = str(found[0].path) if found else _DEMO_CAMERA
        return [str(click.prompt("Camera (rtsp://..., /dev/..., a folder, a video)", default=default))]
    return [str(camera.path) for camera in found] or [_DEMO_CAMERA]


def _name_cameras(given: Iterable[str]) -> dict[str, str]:
    """Addresses by name.

    Raises:
        click.UsageError: a name comes twice.
    """
    named: dict[str, str] = {}
    for number, text in enumerate(given, 1):
        match = _NAMED.fullmatch(text)
        name, address = (match[1], match[2]) if match is not None else (f"camera{number}", text)
        if name in named:
            raise click.UsageError(f"--camera: two cameras are called {name}")
        named[name] = address
    return named


def _write(file: Path, draft: Draft) -> None:
    """Write the text when it is a valid configuration.

    Raises:
        ConfigError: something that was given cannot be used.
        StateError: the file cannot be written.
    """
    from edge_runtime.config import parse_config
    from edge_runtime.system.disk import as_state_error

    text = write_text(draft)
    parse_config(
        text, str(file), dict.fromkeys(draft.secrets, "x"), base=file.parent.resolve(), check_files=False
    )
    with as_state_error(file), file.open("x", encoding="utf-8") as opened:
        opened.write(text)


def _describe(file: Path, draft: Draft) -> str:
    lines = [f"{file} is written. Next:"]
    lines += [f"  export {name}=...      # the password; it is not in the file" for name in draft.secrets]
    lines.append(f"  edge-runtime doctor {file}")
    lines.append(f"  edge-runtime run {file}      # then look at http://127.0.0.1:{draft.port}/")
    if draft.broker is not None:
        lines.append(f"  edge-runtime send commission --config {file} --wait      # while all is healthy")
    return "\n".join(lines)
