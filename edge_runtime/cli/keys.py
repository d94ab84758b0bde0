"""``edge-runtime keys``: makes, rotates, revokes and lists the keys that sign bundles; makes those of commands."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.cli.options import JSON, PATH, print_answer
from edge_runtime.cli.table import format_table
from edge_runtime.errors import KeyUnusable

if TYPE_CHECKING:
    from edge_runtime.config import Config

_CONFIG = click.option("--config", type=PATH, help="Configuration whose section 'trust' is edited.")
_ID_LENGTH = 64


@click.group("keys")
def keys_group() -> None:
    """Make, rotate, revoke and list keys.

    Those of bundles are EC P-256, those of commands Ed25519.
    """


@keys_group.command()
@click.argument("file", type=PATH)
@click.option(
    "--for",
    "what",
    type=click.Choice(["bundles", "commands"]),
    default="bundles",
    show_default=True,
    help="What the key signs.",
)
@JSON
def make(file: Path, what: str, as_json: bool) -> int:
    """Make a private key FILE and its public half FILE.pub.

    Boxes trust the public half. The mode of FILE is 0600.
    """
    from edge_runtime.bundles.signing.ec_keys import make_key_pair, public_path, write_key_pair
    from edge_runtime.messaging.commands.command_keys import make_pems

    if what == "commands":
        key_id, *pems = make_pems()
        write_key_pair(file, *pems)
    else:
        key_id = make_key_pair(file).id
    report = {"key": key_id, "private": str(file), "public": str(public_path(file))}
    place = "commands.keys" if what == "commands" else "trust.keys"
    text = f"made {file} (keep it secret) and {public_path(file)} (name it in {place}): {key_id}"
    print_answer(report, as_json, text)
    return 0


@keys_group.command()
@click.argument("file", type=PATH)
@_CONFIG
@JSON
def rotate(file: Path, config: Path | None, as_json: bool) -> int:
    """Put a new key in the place of private key FILE.

    The old one is kept next to it.

    With --config both public keys are trusted: revoke the old one when nothing it signed is needed any more.
    """
    from edge_runtime.bundles.signing.ec_keys import public_path
    from edge_runtime.bundles.signing.rotate import rotate_key
    from edge_runtime.config.edit import extend_trust

    done = rotate_key(file)
    old, new = public_path(done.old_path), public_path(done.new_path)
    if config is not None:
        extend_trust(config, os.environ, "keys", [str(new.absolute()), str(old.absolute())])
    report = {"key": done.new.id, "public": str(new), "old_key": done.old.id, "old_public": str(old)}
    text = (
        f"{file} is now {done.new.id}\nthe old key {done.old.id} is kept as {done.old_path}; sign the bundles again, "
        f"trust {new} on every box, then: edge-runtime keys revoke {done.old.id} --config FILE"
    )
    print_answer(report, as_json, text)
    return 0


@keys_group.command()
@click.argument("key")
@click.option("--config", type=PATH, required=True, help="Configuration whose trust.revoked is extended.")
@JSON
def revoke(key: str, config: Path, as_json: bool) -> int:
    """Make the signatures of KEY count no longer on a box.

    KEY is an id or a public key file, of bundles. A key of commands is revoked by taking it out of commands.keys.
    """
    from edge_runtime.bundles.signing.ec_keys import load_public_key
    from edge_runtime.config.edit import extend_trust

    is_id = len(key) == _ID_LENGTH and set(key) <= set("0123456789abcdef")
    key_id = key if is_id else load_public_key(Path(key)).id
    extend_trust(config, os.environ, "revoked", [key_id])
    text = f"revoked {key_id} in {config}; what it signed is refused when it is opened the next time"
    print_answer({"revoked": key_id, "config": str(config)}, as_json, text)
    return 0


@keys_group.command("list")
@click.argument("files", nargs=-1, type=PATH)
@click.option(
    "--config", type=PATH, help="Also the keys that this configuration trusts, has revoked, or obeys."
)
@JSON
def list_keys(files: tuple[Path, ...], config: Path | None, as_json: bool) -> int:
    """Show the ids of public keys.

    Of FILES, and of those in a configuration, with the roles of callers.
    """
    from edge_runtime.config import load_config

    if not files and config is None:
        raise click.UsageError("give public key FILES, or --config FILE")
    found = list(_list(files, None if config is None else load_config(config, os.environ)))
    rows = [tuple(map(str, one.values())) for one in found]
    print_answer(
        {"keys": found}, as_json, format_table(("KEY", "STATE", "FILE"), rows) if rows else "no keys"
    )
    return 0


def _list(files: Iterable[Path], config: "Config | None") -> Iterator[dict[str, Any]]:
    trusted = () if config is None else config.trust.keys
    revoked = set() if config is None else set(config.trust.revoked)
    roles = {} if config is None else {one.file: one.role for one in config.commands.keys.values()}
    shown: set[str] = set()
    for path in dict.fromkeys((*files, *trusted, *roles)):
        key_id = _read_id(path)
        shown.add(key_id)
        state = "revoked" if key_id in revoked else "trusted" if path in trusted else roles.get(path, "")
        yield {"key": key_id, "state": state, "file": str(path)}
    for key_id in sorted(revoked - shown):
        yield {"key": key_id, "state": "revoked", "file": ""}


def _read_id(path: Path) -> str:
    """The id of a public key of either kind."""
    from edge_runtime.bundles.signing.ec_keys import load_public_key
    from edge_runtime.messaging.commands.command_keys import load_command_key

    try:
        return load_public_key(path).id
    except KeyUnusable:
        with suppress(KeyUnusable):
            return load_command_key(path).id
        raise
