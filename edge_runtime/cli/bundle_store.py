"""``edge-runtime bundle install | list | remove | gc``: the store of installed bundles."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from edge_runtime.cli.bundle_travel import MAX_MIB, PLAIN_HTTP, WAIT, Limits, pull_with_limits
from edge_runtime.cli.options import JSON, PATH, print_answer
from edge_runtime.cli.table import format_table

if TYPE_CHECKING:
    from edge_runtime.bundles.signing.trust import Trust
    from edge_runtime.deployment.store.in_use import InUse
    from edge_runtime.deployment.store.installed import InstalledVersion
    from edge_runtime.deployment.store.keep import Keep

_ID = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})/([1-9][0-9]{0,8})")
_MIB = 2**20
_COLUMNS = ("BUNDLE", "FORMAT", "SIZE", "INSTALLED", "USE", "STATE")


class Store(NamedTuple):
    """What the options name."""

    root: Path
    keep: "Keep"
    in_use: "InUse"
    """Empty without a configuration: nothing is known of models then."""
    first_starts: Mapping[str, tuple[str, ...]]
    """Real path of a version's folder -> models that have not run yet and would start with it."""
    allow_downgrade: bool
    trust: "Trust | None"


def open_store(config: Path | None, root: Path | None) -> Store:
    """The store of a configuration, or one that is named itself.

    Raises:
        click.UsageError: neither or both are given.
        ConfigError, StateError: the configuration, or the state of its models, cannot be read.
    """
    from edge_runtime.bundles.signing.trust import load_trust
    from edge_runtime.config import load_config
    from edge_runtime.deployment.store.in_use import InUse, find_first_starts, find_in_use
    from edge_runtime.deployment.store.keep import Keep

    if (config is None) == (root is None):
        raise click.UsageError("give --config FILE, or --root DIR for a store without a configuration")
    if config is None:
        assert root is not None
        return Store(root, Keep(), InUse(), {}, allow_downgrade=False, trust=None)
    loaded = load_config(config, os.environ)
    rules, in_use = loaded.bundles, find_in_use(loaded)
    return Store(
        loaded.bundles_folder,
        Keep.from_config(rules),
        in_use,
        find_first_starts(loaded, in_use),
        allow_downgrade=rules.allow_downgrade,
        trust=load_trust(loaded.trust),
    )


def _with_store(command: Callable[..., int]) -> Callable[..., int]:
    root = click.option("--root", type=PATH, help="The store itself: a folder <name>/<version>.")
    config = click.option(
        "--config", type=PATH, help="Configuration: names the store, its rules and its models."
    )
    return config(root(JSON(command)))


@click.command("install")
@click.argument("source")
@click.option("--allow-downgrade", is_flag=True, help="Also a version lower than the newest installed one.")
@MAX_MIB
@PLAIN_HTTP
@WAIT
@_with_store
def install_command(
    source: str,
    config: Path | None,
    root: Path | None,
    allow_downgrade: bool,
    max_mib: int,
    plain_http: bool,
    wait_s: float,
    as_json: bool,
) -> int:
    """Verify a bundle and put it into the store.

    SOURCE is a folder, .tar, .tar.gz or oci:// reference. It is installed whole or not at all.

    A running daemon tries it where the model has a section 'rollout', and else stays with its version until the next
    start. An oci:// reference needs the extra 'travel'.
    """
    from edge_runtime.bundles.travel.reference import is_reference
    from edge_runtime.deployment.store.install import Rules, install
    from edge_runtime.deployment.store.place import make_root

    store = open_store(config, root)
    rules = Rules(store.keep, store.allow_downgrade or allow_downgrade, store.in_use, store.trust)
    if is_reference(source):
        make_root(store.root)
        limits = Limits(plain_http, wait_s, max_mib)
        with pull_with_limits(source, store.root, store.trust, limits) as (pulled, _):
            done = install(pulled.bundle.path, store.root, rules)
    else:
        done = install(Path(source), store.root, rules)
    lines = [f"{done.outcome}: {done.id} in {done.path}, {done.size_bytes / _MIB:.1f} MiB"]
    lines += [f"removed: {one}" for one in done.removed]
    print_answer(asdict(done), as_json, "\n".join(lines))
    return 0


@click.command("list")
@_with_store
def list_command(config: Path | None, root: Path | None, as_json: bool) -> int:
    """Show all installed versions.

    Also what models use them, and whether they are whole and trusted.
    """
    from edge_runtime.deployment.store.installed import list_installed

    store = open_store(config, root)
    found = list_installed(store.root, store.in_use, store.trust)
    starts = {one.path: store.first_starts.get(os.path.realpath(one.path), ()) for one in found}
    unused = "not known without --config" if config is None else "not in use"
    rows = [_describe(one, starts[one.path], unused) for one in found]
    text = format_table(_COLUMNS, rows) if rows else f"no bundle is installed in {store.root}"
    print_answer(
        {"root": str(store.root), "bundles": [_as_json(one, starts[one.path]) for one in found]},
        as_json,
        text,
    )
    return 0


@click.command("remove")
@click.argument("bundle", metavar="NAME/VERSION")
@_with_store
def remove_command(bundle: str, config: Path | None, root: Path | None, as_json: bool) -> int:
    """Remove one installed version, unless a model uses it.

    The models are those of the configuration.
    """
    from edge_runtime.deployment.store.remove import remove

    parts = _ID.fullmatch(bundle)
    if parts is None:
        raise click.UsageError(f"{bundle!r} is no NAME/VERSION, such as parts/4")
    store = open_store(config, root)
    path = remove(store.root, parts[1], int(parts[2]), store.in_use)
    print_answer({"removed": bundle, "path": str(path)}, as_json, f"removed: {bundle}")
    return 0


@click.command("gc")
@_with_store
def gc_command(config: Path | None, root: Path | None, as_json: bool) -> int:
    """Remove the versions that section 'bundles' does not keep.

    What counts is version_policy and max_mib there. Leftovers go too.
    """
    from edge_runtime.deployment.store.remove import collect

    store = open_store(config, root)
    done = collect(store.root, store.keep, store.in_use)
    lines = [f"removed: {one}" for one in done.removed] or ["nothing to remove"]
    lines.append(f"freed {done.freed_bytes / _MIB:.1f} MiB, {done.kept_bytes / _MIB:.1f} MiB stay")
    if done.over_bytes:
        over = f"{done.over_bytes / _MIB:.1f} MiB above bundles.max_mib"
        lines.append(f"note: {over}: all that stay are in use or the newest of their name")
    print_answer(asdict(done), as_json, "\n".join(lines))
    return 0


def _describe(one: "InstalledVersion", starts: tuple[str, ...], unused: str) -> tuple[str, ...]:
    """A row of the table."""
    first_start = f"first version of {', '.join(starts)}, not run yet" if starts else unused
    roles = ", ".join(one.roles) or first_start
    state = "whole" if one.is_whole else "DAMAGED"
    if one.problem is not None:
        state += f", NOT TRUSTED: {one.problem}" if one.is_whole else f": {one.problem}"
    size, when = f"{one.held.size_bytes / _MIB:.1f} MiB", _format_time(one.held.installed_wall_s)
    return one.held.id, one.format or "unknown", size, when, roles, state


def _as_json(one: "InstalledVersion", starts: tuple[str, ...]) -> dict[str, Any]:
    return {
        **asdict(one.held),
        "path": str(one.path),
        "format": one.format,
        "roles": one.roles,
        "first_start_of": starts,
        "is_whole": one.is_whole,
        "problem": one.problem,
    }


def _format_time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
