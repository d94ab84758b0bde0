"""Libraries that are not there, or were built for another system, in a folder for PYTHONPATH."""

import platform
import struct
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import orjson

OLD, NEW = {
    "x86_64": (b"GLIBC_2.2.5", b"GLIBC_9.2.5"),
    "aarch64": (b"GLIBC_2.17", b"GLIBC_9.17"),
}[platform.machine()]
"""The first release of the C library for the processor, which every library needs, and one that does not exist."""


def plant_missing(folder: Path, name: str) -> None:
    """The import of ``name`` ends as if it was not installed."""
    text = f"raise ModuleNotFoundError('No module named {name}', name={name!r})\n"
    (folder / f"{name}.py").write_text(text)


def plant_built_for_a_newer_system(folder: Path, name: str) -> None:
    """A real extension module whose need of the C library is of a release that does not exist yet."""
    built = next(Path(orjson.__file__).parent.glob("*.so")).read_bytes()
    assert OLD + b"\0" in built
    newer = built.replace(OLD + b"\0", NEW + b"\0")
    # The loader compares hashes of these names first (struct Vernaux).
    newer = newer.replace(struct.pack("<I", _hash(OLD)), struct.pack("<I", _hash(NEW)))
    (folder / f"{name}{EXTENSION_SUFFIXES[0]}").write_bytes(newer)


def _hash(name: bytes) -> int:
    """The one of symbols in ELF files."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high
    return value & 0xFFFFFFFF
