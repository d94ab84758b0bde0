"""``edge-runtime bundle pack``, ``push`` and ``pull``: bundles as archives and in OCI registries."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from edge_runtime.cli.bundle_sign import TRUST, trust_in
from edge_runtime.cli.options import BUNDLE, JSON, PATH, OutputFile, print_answer

if TYPE_CHECKING:
    from edge_runtime.bundles.signing.trust import Trust
    from edge_runtime.bundles.travel.oras_registry import OrasRegistry
    from edge_runtime.bundles.travel.pull import Pulled
    from edge_runtime.bundles.travel.reference import Reference

_MIB = 1024 * 1024
PLAIN_HTTP = click.option("--plain-http", is_flag=True, help="Without TLS; on this machine always so.")
WAIT = click.option(
    "--wait", "wait_s", type=click.FloatRange(min=0), default=60.0, show_default=True,
    help="Seconds to wait for a registry that is away.",
)  # fmt: skip
MAX_MIB = click.option(
    "--max-mib", type=click.IntRange(min=1, max=2048), default=2048, show_default=True,
    help="Largest bundle that is loaded.",
)  # fmt: skip


class Limits(NamedTuple):
    """Options of a command that pulls."""

    plain_http: bool = False
    wait_s: float = 60.0
    max_mib: int = 2048


@click.command()
@BUNDLE
@click.argument("file", type=OutputFile())
@JSON
def pack(bundle: Path, file: Path, as_json: bool) -> int:
    """Write BUNDLE, verified, as one archive FILE.tar; the same bundle always gives the same bytes."""
    from edge_runtime.bundles.travel.archive import pack_bundle
    from edge_runtime.bundles.travel.files import list_files

    files = list_files(bundle)
    size = pack_bundle(files, file)
    report = {"bundle": files.bundle.id, "file": str(file), "size_bytes": size}
    print_answer(report, as_json, f"packed {files.bundle.id}: {file}, {size / 1e6:.1f} MB")
    return 0


@click.command()
@BUNDLE
@click.argument("reference")
@PLAIN_HTTP
@WAIT
@JSON
def push(bundle: Path, reference: str, plain_http: bool, wait_s: float, as_json: bool) -> int:
    """Push BUNDLE to oci://HOST[:PORT]/NAME:VERSION; run again after an interruption it goes on.

    Needs the extra 'travel'. User and password are those of 'docker login'.
    """
    from edge_runtime.bundles.travel.files import list_files
    from edge_runtime.bundles.travel.push import push_bundle
    from edge_runtime.bundles.travel.reference import parse_reference
    from edge_runtime.bundles.travel.registry import Patience

    wanted = parse_reference(reference)
    files = list_files(bundle)
    with open_registry(wanted, plain_http=plain_http) as registry, show_progress("pushed") as progress:
        done = push_bundle(files, wanted, registry, Patience(wait_s), progress)
    pinned = wanted.pin(done.digest)
    report = {
        "bundle": files.bundle.id,
        "reference": pinned,
        "sent_bytes": done.sent_bytes,
        "already_there": done.already_there,
    }
    there = f" ({done.already_there} files of it were there)" if done.already_there else ""
    text = f"pushed {files.bundle.id}, {done.sent_bytes / 1e6:.1f} MB sent{there}: {pinned}"
    print_answer(report, as_json, text)
    return 0


@click.command()
@click.argument("reference")
@click.option("--out", required=True, type=PATH, help="Folder for bundles.")
@TRUST
@MAX_MIB
@PLAIN_HTTP
@WAIT
@JSON
def pull(
    reference: str,
    out: Path,
    trust: tuple[Path, ...],
    max_mib: int,
    plain_http: bool,
    wait_s: float,
    as_json: bool,
) -> int:
    """Pull and verify a bundle, oci://HOST[:PORT]/NAME:VERSION or NAME@sha256:HASH; run again it goes on.

    Needs the extra 'travel'. User and password are those of 'docker login'.
    """
    from edge_runtime.bundles.travel.pull import place_bundle

    limits = Limits(plain_http, wait_s, max_mib)
    with open_pull(reference, out, trust_in(trust), limits) as (pulled, pinned):
        path = place_bundle(pulled, out)
    report: dict[str, Any] = {
        "bundle": pulled.bundle.id,
        "path": str(path),
        "reference": pinned,
        "signed_by": pulled.bundle.signed_by,
        "downloaded_bytes": pulled.counts.downloaded,
        "kept_bytes": pulled.counts.kept,
    }
    text = f"pulled {pulled.bundle.id}: {path}, {pulled.counts.downloaded / 1e6:.1f} MB, {pinned}"
    print_answer(report, as_json, text)
    return 0


@contextmanager
def open_pull(
    text: str, folder: Path, trust: "Trust | None", limits: Limits
) -> "Iterator[tuple[Pulled, str]]":
    """A pulled bundle while the context lasts, and its reference with the digest.

    Args:
        text: The reference.
        folder: Where bundles are or will be: what arrived of this one is kept below it, and its files are used again.
        trust: Who must have signed.
        limits: The options of the command.

    Raises:
        EdgeRuntimeError: as ``parse_reference``, ``open_registry`` and ``pull_into``.
    """
    from edge_runtime.bundles.signing.trust import Trust
    from edge_runtime.bundles.travel.pull import PARTIAL_FOLDER, Order, find_known, pull_into
    from edge_runtime.bundles.travel.reference import parse_reference
    from edge_runtime.bundles.travel.registry import Patience

    wanted = parse_reference(text)
    order = Order(wanted, trust or Trust(), limits.max_mib * _MIB, find_known(folder, wanted.name))
    with (
        open_registry(wanted, plain_http=limits.plain_http) as registry,
        show_progress("pulled") as progress,
        pull_into(order, registry, folder / PARTIAL_FOLDER, Patience(limits.wait_s), progress) as pulled,
    ):
        yield pulled, wanted.pin(pulled.digest)


def open_registry(reference: "Reference", *, plain_http: bool) -> "OrasRegistry":
    """The registry of a reference, with the credentials that docker keeps.

    Raises:
        ExtraMissing: the extra 'travel' is not installed.
        RegistryRefused: docker's file cannot be used.
    """
    from edge_runtime.bundles.travel.credentials import find_credentials
    from edge_runtime.bundles.travel.oras_registry import OrasRegistry

    return OrasRegistry(reference, find_credentials(reference.host, os.environ), plain_http=plain_http)


@contextmanager
def show_progress(word: str) -> Iterator[Callable[[int], None]]:
    """One line on a terminal's standard error that counts up, gone at the end; nothing anywhere else."""
    total, is_shown = 0, sys.stderr.isatty()

    def show(count: int) -> None:
        nonlocal total
        total += count
        if is_shown:
            print(f"\r{word} {total / 1e6:.1f} MB ", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
