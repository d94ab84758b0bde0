"""``edge-runtime bundle pack``, ``push`` and ``pull``: bundles as archives and in OCI registries."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from edge_runtime.cli.bundle_sign import TRUST, trust_in
from edge_runtime.cli.options import BUNDLE, JSON, PATH, OutputFile, print_answer
from edge_runtime.cli.progress import Progress

if TYPE_CHECKING:
    from edge_runtime.bundles.signing.trust import Trust
    from edge_runtime.bundles.travel.pull import Pulled

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
    """Verify BUNDLE and write it as one archive FILE.tar.

    The same bundle always gives the same bytes.
    """
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
    """Push BUNDLE to oci://HOST[:PORT]/NAME:VERSION.

    Run again after an interruption it goes on.

    Needs the extra 'travel'. User and password are those of 'docker login'.
    """
    from edge_runtime.bundles.travel.files import list_files
    from edge_runtime.bundles.travel.from_registry import open_registry
    from edge_runtime.bundles.travel.push import push_bundle
    from edge_runtime.bundles.travel.reference import parse_reference
    from edge_runtime.bundles.travel.registry import Patience

    wanted = parse_reference(reference)
    files = list_files(bundle)
    with open_registry(wanted, plain_http=plain_http) as registry, Progress() as progress:
        progress.begin(f"pushing {files.bundle.id}", sum(files.sizes.values()), unit="bytes", is_even=True)
        done = push_bundle(files, wanted, registry, Patience(wait_s), progress.advance)
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
    """Pull a bundle from a registry and verify it.

    REFERENCE is oci://HOST[:PORT]/NAME:VERSION or NAME@sha256:HASH. Run again after an interruption it goes on.

    Needs the extra 'travel'. User and password are those of 'docker login'.
    """
    from edge_runtime.bundles.travel.pull import place_bundle

    limits = Limits(plain_http, wait_s, max_mib)
    with pull_with_limits(reference, out, trust_in(trust), limits) as (pulled, pinned):
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
def pull_with_limits(
    text: str, folder: Path, trust: "Trust | None", limits: Limits
) -> "Iterator[tuple[Pulled, str]]":
    """A pulled bundle while the context lasts, and its reference with the digest; progress is shown.

    Args:
        text: The reference.
        folder: Where bundles are or will be.
        trust: Who must have signed.
        limits: The options of the command.

    Raises:
        EdgeRuntimeError: as ``parse_reference`` and ``open_pull``.
    """
    from edge_runtime.bundles.signing.trust import Trust
    from edge_runtime.bundles.travel.from_registry import PullRules, open_pull
    from edge_runtime.bundles.travel.reference import parse_reference
    from edge_runtime.bundles.travel.registry import Patience

    wanted = parse_reference(text)
    rules = PullRules(trust or Trust(), limits.max_mib * _MIB, Patience(limits.wait_s), limits.plain_http)
    with Progress() as progress:

        def begin(size_bytes: int) -> None:
            progress.begin(f"pulling {wanted}", size_bytes, unit="bytes", is_even=True)

        progress.begin(f"asking {wanted.host}")
        with open_pull(wanted, folder, rules, progress.advance, begin) as pulled:
            yield pulled, wanted.pin(pulled.digest)
