"""``edge-runtime bundle sign``, and the option with the keys that a command trusts."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.cli.options import BUNDLE, JSON, PATH, print_answer

if TYPE_CHECKING:
    from edge_runtime.bundles.signing.trust import Trust

TRUST = click.option(
    "--trust", multiple=True, type=PATH, help="Public key (PEM) that may have signed it; may be repeated."
)


@click.command()
@BUNDLE
@click.option("--key", "key_path", required=True, type=PATH, help="Private key (PEM).")
@JSON
def sign(bundle: Path, key_path: Path, as_json: bool) -> int:
    """Sign every file of BUNDLE.

    Writes bundle.sig, an OpenSSF model signature.
    """
    from edge_runtime.bundles.signing.ec_keys import load_private_key
    from edge_runtime.bundles.signing.sign import sign_bundle

    key = load_private_key(key_path)
    signature = sign_bundle(bundle, key)
    report = {"signature": str(signature), "key": key.public.id}
    print_answer(report, as_json, f"signed: {signature}, key {key.public.id}")
    return 0


def trust_in(keys: tuple[Path, ...]) -> "Trust | None":
    """The trust of a command line: one of these keys must have signed; None where none is named.

    Raises:
        KeyUnusable: a key file cannot be used.
    """
    if not keys:
        return None
    from edge_runtime.bundles.signing.ec_keys import load_public_key
    from edge_runtime.bundles.signing.trust import Trust

    return Trust(tuple(load_public_key(path) for path in keys), require_signed=True)
