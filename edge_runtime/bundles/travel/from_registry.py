"""A bundle from a registry: pulled and verified in a folder, ready to be installed or to be moved to its place."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.travel.credentials import find_credentials
from edge_runtime.bundles.travel.oras_registry import OrasRegistry
from edge_runtime.bundles.travel.pull import PARTIAL_FOLDER, Order, Pulled, find_known, pull_into
from edge_runtime.bundles.travel.reference import Reference
from edge_runtime.bundles.travel.registry import Patience, ignore_bytes
from edge_runtime.bundles.verify import MAX_TOTAL_BYTES


@dataclass(frozen=True, slots=True)
class PullRules:
    """Who is trusted, and within which limits."""

    trust: Trust = field(default_factory=Trust)
    most_bytes: int = MAX_TOTAL_BYTES
    patience: Patience = field(default_factory=Patience)
    plain_http: bool = False
    """Without TLS; on this machine always so."""


@contextmanager
def open_pull(
    wanted: Reference,
    folder: Path,
    rules: PullRules,
    on_bytes: Callable[[int], None] = ignore_bytes,
    on_size: Callable[[int], None] = ignore_bytes,
) -> Iterator[Pulled]:
    """A pulled bundle while the context lasts.

    Args:
        wanted: Which one.
        folder: Where bundles are or will be: what arrived of this one is kept below it, and its files are used again.
        rules: See there.
        on_bytes: Hears how many more bytes are here.
        on_size: Hears once how many there will be.

    Raises:
        EdgeRuntimeError: as ``open_registry`` and ``pull_into``.
    """
    order = Order(wanted, rules.trust, rules.most_bytes, find_known(folder, wanted.name))
    with (
        open_registry(wanted, plain_http=rules.plain_http) as registry,
        pull_into(order, registry, folder / PARTIAL_FOLDER, rules.patience, on_bytes, on_size) as pulled,
    ):
        yield pulled


def open_registry(reference: Reference, *, plain_http: bool) -> OrasRegistry:
    """The registry of a reference, with the credentials that docker keeps.

    Raises:
        ExtraMissing: the extra 'travel' is not installed.
        RegistryRefused: docker's file cannot be used.
    """
    return OrasRegistry(reference, find_credentials(reference.host, os.environ), plain_http=plain_http)
