"""``edge-runtime bundle attach`` and ``attached``: patches, baselines and bills of materials of a pushed bundle."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from edge_runtime.cli.bundle_travel import PLAIN_HTTP, WAIT
from edge_runtime.cli.options import JSON, PATH, print_answer
from edge_runtime.cli.printable import make_printable
from edge_runtime.errors import RegistryRefused, StateError

if TYPE_CHECKING:
    from edge_runtime.bundles.travel.reference import Reference
    from edge_runtime.bundles.travel.referrers import Kind
    from edge_runtime.bundles.travel.registry import Patience, Registry

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")


@click.command()
@click.argument("reference")
@click.argument("file", type=PATH)
@click.option("--kind", required=True, type=click.Choice(["patch", "baseline", "sbom"]), help="What FILE is.")
@PLAIN_HTTP
@WAIT
@JSON
def attach(reference: str, file: Path, kind: str, plain_http: bool, wait_s: float, as_json: bool) -> int:
    """Attach FILE to the pushed bundle REFERENCE, whose digest stays. Needs the extra 'travel'."""
    from calibration.stats.regular_file import read_whole
    from edge_runtime.bundles.travel.from_registry import open_registry
    from edge_runtime.bundles.travel.reference import parse_reference
    from edge_runtime.bundles.travel.referrers import MAX_BYTES, attach_file
    from edge_runtime.bundles.travel.registry import Patience

    wanted, patience = parse_reference(reference), Patience(wait_s)
    try:
        data = read_whole(file, MAX_BYTES)
    except OSError as err:
        raise StateError(f"cannot read {file}: {err.strerror}") from err
    with open_registry(wanted, plain_http=plain_http) as registry:
        subject = _get_subject(wanted, registry, patience)
        digest = attach_file(registry, subject, cast("Kind", kind), file.name, data, patience)
    report = {"kind": kind, "name": file.name, "digest": digest}
    print_answer(report, as_json, f"attached {file.name} ({kind}) to {wanted}: {digest}")
    return 0


@click.command()
@click.argument("reference")
@click.option("--out", type=PATH, help="Also write the files into this folder.")
@PLAIN_HTTP
@WAIT
@JSON
def attached(reference: str, out: Path | None, plain_http: bool, wait_s: float, as_json: bool) -> int:
    """List what is attached to the pushed bundle REFERENCE. Nothing of it is used by itself."""
    from edge_runtime.bundles.travel.from_registry import open_registry
    from edge_runtime.bundles.travel.model_pack import find_digest
    from edge_runtime.bundles.travel.reference import parse_reference
    from edge_runtime.bundles.travel.referrers import TYPES, list_attached, load_attached
    from edge_runtime.bundles.travel.registry import Patience

    wanted, patience = parse_reference(reference), Patience(wait_s)
    with open_registry(wanted, plain_http=plain_http) as registry:
        subject = find_digest(_get_subject(wanted, registry, patience))
        found = list_attached(registry, subject, patience)
        paths = [
            _write(out, one.name, one.digest, load_attached(registry, subject, one, patience))
            for one in found
            if out is not None and one.kind in TYPES
        ]
    lines = [
        f"{make_printable(one.kind[:200])} {make_printable(one.name[:200])} {one.digest}" for one in found
    ]
    lines += [f"written: {path}" for path in paths]
    report = {"attached": [asdict(one) for one in found], "written": list(map(str, paths))}
    print_answer(report, as_json, "\n".join(lines) or "nothing is attached")
    return 0


def _get_subject(reference: "Reference", registry: "Registry", patience: "Patience") -> bytes:
    from edge_runtime.bundles.travel.model_pack import find_digest

    manifest = patience.repeat(lambda: registry.get_manifest(reference.digest or reference.tag or ""))
    if manifest is None:
        raise RegistryRefused(str(reference), "it is not there; check the name and the version")
    if reference.digest not in (None, find_digest(manifest)):
        raise RegistryRefused(str(reference), "the registry gives something else")
    return manifest


def _write(folder: Path | None, name: str, digest: str, data: bytes) -> Path:
    """The name comes from the registry: it is used where it is harmless, behind the digest."""
    from calibration.stats.atomic_file import write_atomically
    from edge_runtime.system.disk import as_state_error

    assert folder is not None
    safe = name if _SAFE_NAME.fullmatch(name) else "file"
    path = folder / f"{digest.removeprefix('sha256:')[:12]}-{safe}"
    with as_state_error(path):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    return path
