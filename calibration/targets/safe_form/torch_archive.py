"""Looks through a TorchScript file, which is a zip archive of torch, without opening it in torch.

The archive is not written anew. Instead its layout must leave a reader no choice: one directory at the very end, no
member twice, members that do not overlap and lie where the directory says, and no paths that leave the archive. What
the program in it may do is checked by ``targets.torchscript.operators``, in torch's own graphs.

Source: APPNOTE.TXT of PKWARE; torch/csrc/jit/serialization.
"""

import io
import struct
import zipfile

from calibration.targets.safe_form.boundary import PARSER_ERRORS

MAX_MEMBERS = 20_000
MAX_CODE_BYTES = 64 << 20
"""Of the program, unpacked; weights are never packed."""
MAX_NAME_CHARACTERS = 1024

_NEEDED = (("data.pkl",), ("constants.pkl",), ("version", ".data/version"))
"""The last one has two places: torch writes the second from version 6 on, which some operators (gelu) need."""
_FIRST, _LOCAL_BYTES = b"PK\x03\x04", 30
_END, _END_BYTES = b"PK\x05\x06", 22
_LOCATOR, _LOCATOR_BYTES, _END64, _END64_BYTES = b"PK\x06\x07", 20, b"PK\x06\x06", 56


class NotTorchScript(Exception):
    """The bytes are not a TorchScript archive, or one that must not be opened; the text says why."""


def check_archive(data: bytes) -> None:
    """Refuse what torch must not open.

    Raises:
        NotTorchScript: it is so.
    """
    _check_ends(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members)
            _check_places(data, members, archive.start_dir)
    except PARSER_ERRORS as err:
        raise NotTorchScript(f"a damaged archive ({err})") from err


def _check_ends(data: bytes) -> None:
    """One archive, from the first byte to the last, with one directory that all readers find."""
    if not data.startswith(_FIRST):
        raise NotTorchScript("no archive of torch")
    at = len(data) - _END_BYTES
    if at < 0 or data[at : at + 4] != _END or data[-2:] != b"\0\0":
        raise NotTorchScript("bytes behind the archive, or a comment")
    size, offset = struct.unpack_from("<LL", data, at + 12)
    locator = at - _LOCATOR_BYTES
    if locator >= 0 and data[locator : locator + 4] == _LOCATOR:
        at = locator - _END64_BYTES
        (said,) = struct.unpack_from("<Q", data, locator + 8)
        if at < 0 or said != at or data[at : at + 4] != _END64:
            raise NotTorchScript("two directories, or one that is not where the archive says")
        whole = struct.unpack_from("<QQ", data, at + 40)
        if any(short not in (0xFFFFFFFF, long) for short, long in zip((size, offset), whole, strict=True)):
            raise NotTorchScript("two directories of different places")
        size, offset = whole
    if offset + size != at:
        raise NotTorchScript("bytes between the directory and its end")


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if len(names) > MAX_MEMBERS or len(set(names)) != len(names):
        raise NotTorchScript(f"more than {MAX_MEMBERS} members, or one of them twice")
    roots = {name.partition("/")[0] for name in names}
    missing = [
        places[0]
        for places in _NEEDED
        if {f"{root}/{name}" for name in places for root in roots}.isdisjoint(names)
    ]
    if len(roots) != 1 or missing:
        raise NotTorchScript(f"not the members that torch writes ({', '.join(missing) or 'several folders'})")
    packed = 0
    for member in members:
        parts = member.filename.split("/")
        if (
            member.orig_filename != member.filename
            or "\\" in member.filename
            or not set(parts).isdisjoint(("", ".", ".."))
            or len(parts) < 2  # torch puts all members into one folder
        ):
            raise NotTorchScript(f"a member with the path {member.filename[:60]!r}")
        if len(member.filename) > MAX_NAME_CHARACTERS or member.flag_bits & 0x1:
            raise NotTorchScript("a member with a very long name, or an encrypted one")
        if member.compress_type == zipfile.ZIP_STORED:
            if member.file_size != member.compress_size:
                raise NotTorchScript("a member of two sizes")
        elif member.compress_type == zipfile.ZIP_DEFLATED and parts[1] == "code":
            packed += member.file_size
        else:
            raise NotTorchScript(f"a packed member {member.filename[:60]!r}")
    if packed > MAX_CODE_BYTES:
        raise NotTorchScript(f"a program of {packed} bytes; at most {MAX_CODE_BYTES}")


def _check_places(data: bytes, members: list[zipfile.ZipInfo], end: int) -> None:
    """Members lie one behind the other, each under the name that the directory gives it."""
    free = 0
    for member in sorted(members, key=lambda one: one.header_offset):
        at = member.header_offset
        name_bytes, extra_bytes = struct.unpack_from("<HH", data, at + 26)
        name = data[at + _LOCAL_BYTES : at + _LOCAL_BYTES + name_bytes]
        if at < free or data[at : at + 4] != _FIRST or name != _encoded(member):
            raise NotTorchScript(f"member {member.filename[:60]!r} is not where the directory says")
        free = at + _LOCAL_BYTES + name_bytes + extra_bytes + member.compress_size
    if free > end:
        raise NotTorchScript("members that reach into the directory")


def _encoded(member: zipfile.ZipInfo) -> bytes:
    return member.filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")
