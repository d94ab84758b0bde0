"""An archive from an https address: every byte that arrived is kept until it is whole, see ``partial``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.bundles.travel.http_file import HttpFile
from edge_runtime.bundles.travel.model_pack import Layer
from edge_runtime.bundles.travel.partial import Counts, open_partial
from edge_runtime.bundles.travel.pull import PARTIAL_FOLDER
from edge_runtime.bundles.travel.registry import Patience, ignore_bytes
from edge_runtime.config.install_sources import SourceAddress
from edge_runtime.errors import BundleError
from edge_runtime.system.disk import require_space

_AGAIN = "Give the sha256 of the file that is there now."


@dataclass(frozen=True, slots=True)
class FileOrder:
    """What is loaded, and within which limits."""

    address: SourceAddress
    sha256: str
    """Of the file, hexadecimal."""
    most_bytes: int
    may_ask: Callable[[SourceAddress], bool]
    """Whether a redirect may lead to an address."""


@contextmanager
def open_download(
    order: FileOrder,
    folder: Path,
    patience: Patience,
    on_bytes: Callable[[int], None] = ignore_bytes,
    on_size: Callable[[int], None] = ignore_bytes,
) -> Iterator[tuple[Path, Counts]]:
    """The file while the context lasts, with the hash that was asked for.

    It is removed once the context ends well, or the bundle in it is refused; after any other end it stays.

    Args:
        order: See there.
        folder: Where bundles are or will be: what arrived is kept below it.
        patience: How long to wait for a server that is away.
        on_bytes: Hears how many more bytes are here.
        on_size: Hears once how many there will be.

    Raises:
        BundleError: it is too long, or another file.
        RegistryLost: the server is away for longer than the patience; the next try goes on.
        RegistryRefused: there is no such file, or it leads to an address that is not allowed.
        StateError: the disk refuses or is too small.
        ExtraMissing: the extra 'travel' is not installed.
    """
    shown = str(order.address)
    with HttpFile(order.address, order.may_ask) as file, open_partial(folder / PARTIAL_FOLDER) as partial:
        size = patience.repeat(file.find_size)
        if size > order.most_bytes:
            fix = "Raise bundles.max_mib, or make it smaller."
            raise BundleError(shown, f"{size} bytes", f"at most {order.most_bytes}", fix)
        layer, counts = Layer(shown, f"sha256:{order.sha256}", size), Counts()
        patience.expect(size, 1)
        require_space(partial.folder, partial.missing_bytes([layer]) + size)
        on_size(size)
        try:
            try:
                partial.fetch(layer, file, patience, counts, on_bytes)
            except BundleError as err:
                raise BundleError(shown, "another file", f"sha256 {order.sha256}", _AGAIN) from err
            yield partial.path_of(layer), counts
        except BundleError:
            partial.clear([layer])
            raise
        partial.clear([layer])
