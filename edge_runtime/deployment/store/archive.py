"""Reads a tar archive, plain or gzipped, that is not trusted; its members go to a ``FolderWriter``.

Python's tarfile reads the headers. It trusts their lengths, so it gets the bytes through a meter: a header may take
``_HEADER_BYTES``, a file what it promises. Links, devices, sparse files and everything else that is no plain file or
folder are refused. zstd is not in the standard library of Python 3.11; xz and bzip2 are, and may ask for gigabytes.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from calibration.stats.regular_file import open_regular
from calibration.targets.safe_form.boundary import PARSER_ERRORS
from edge_runtime.deployment.store.folder_writer import AGAIN, FolderWriter
from edge_runtime.errors import BundleError

EXPECTED = "a folder, .tar or .tar.gz with one bundle"
_BLOCK_BYTES = 32 * 1024
_HEADER_BYTES = 2 * _BLOCK_BYTES
"""Of one member, with long names and extended headers and one block that is read ahead."""
_CHUNK_BYTES = 1024 * 1024
_MAX_KEYS = 100
"""Of headers that hold for all members; git writes one."""
_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "Unpack it first: tar --zstd -xf FILE"),
    b"\xfd7zXZ": ("an xz archive", "Unpack it first: tar -xJf FILE"),
    b"BZh": ("a bzip2 archive", "Unpack it first: tar -xjf FILE"),
    b"PK\x03\x04": ("a zip archive", "Unpack it first: unzip FILE"),
}
_READ_ERRORS: tuple[type[Exception], ...] = (tarfile.TarError, zlib.error, gzip.BadGzipFile, *PARSER_ERRORS)
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe", tarfile.GNUTYPE_SPARSE: "a sparse file",
}  # fmt: skip


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Meter:
    """A stream that is an error when more is read of it than was allowed."""

    def __init__(self, stream: _Stream, source: Path) -> None:
        self._stream, self._source = stream, source
        self._left = 0

    def allow(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            found = f"a header of more than {_HEADER_BYTES - _BLOCK_BYTES} bytes"
            raise BundleError(self._source, found, "an archive of plain files", AGAIN)
        return data


def unpack_archive(source: Path, writer: FolderWriter) -> None:
    """Write all members of the archive.

    Raises:
        BundleError: it is none, is cut off, or holds what no bundle may.
        StateError: the disk refuses.
    """
    with _as_bundle_error(source), open_regular(source) as file:
        start = file.read(8)
        for magic, (found, fix) in _OTHERS.items():
            if start.startswith(magic):
                raise BundleError(source, found, EXPECTED, fix)
        file.seek(0)
        if start.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file, mode="rb") as inflated:
                _unpack(_Meter(inflated, source), writer)
        else:
            _unpack(_Meter(file, source), writer)


def _unpack(meter: _Meter, writer: FolderWriter) -> None:
    limits, members = writer.limits, 0
    meter.allow(_HEADER_BYTES)
    stream = cast("BinaryIO", meter)  # tarfile needs nothing of it but read
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK_BYTES) as archive:
        while (member := archive.next()) is not None:
            members += 1
            if members > limits.files + limits.folders or len(archive.pax_headers) > _MAX_KEYS:
                raise writer.refuse(member.name, "too many members or headers", "the files of one bundle")
            if member.isdir():
                writer.add_folder(member.name)
            elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                meter.allow(_HEADER_BYTES + max(0, min(member.size, limits.file_bytes)))
                writer.add_file(member.name, _read(archive, member, writer), member.size)
            else:
                found = "a sparse file" if member.issparse() else _KINDS.get(member.type, "no plain file")
                raise writer.refuse(member.name, found, "plain files and folders")
            archive.members.clear()  # type: ignore[attr-defined]  # else it keeps the headers of all
            meter.allow(_HEADER_BYTES)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, writer: FolderWriter) -> Iterator[bytes]:
    with _as_bundle_error(writer.source):
        content = archive.extractfile(member)
        assert content is not None  # only links and devices have none
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk


@contextmanager
def _as_bundle_error(source: Path) -> Iterator[None]:
    """Whatever reading raises; what the writer raises is no OSError any more."""
    try:
        yield
    except _READ_ERRORS as err:
        found = f"cut off, damaged or no archive ({str(err)[:100] or type(err).__name__})"
        raise BundleError(source, found, EXPECTED, AGAIN) from err
    except OSError as err:
        found = f"cannot be read: {err.strerror or str(err)[:100]}"
        raise BundleError(source, found, EXPECTED, "Check the path and the file.") from err
