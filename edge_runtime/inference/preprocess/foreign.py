"""Names what a payload is when it is no picture that is read here, so that the reason helps.

Its content is not quoted.
"""

import base64
import binascii
import re

READ_HERE = "JPEG, PNG, BMP, WebP, TIFF or binary netpbm"

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"8BPS", "a Photoshop file"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive (.npz is one)"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"Pf", "a float netpbm picture"),
    (b"PF", "a float netpbm picture"),
    (b"P7", "a PAM picture"),
)
_BRANDS = {b"heic": "an HEIC", b"heix": "an HEIC", b"mif1": "an HEIC", b"msf1": "an HEIC", b"avif": "an AVIF",
           b"avis": "an AVIF"}  # fmt: skip
_SAMPLE = 4096  # bytes of the payload that are looked at


def name_foreign(data: bytes) -> str:
    """What it is and what to do, as the detail of a rejection."""
    start = data[:_SAMPLE]
    for magic, name in _STARTS:
        if start.startswith(magic):
            return f"this is {name}; expected {READ_HERE}"
    if start[4:8] == b"ftyp":
        return f"this is {_BRANDS.get(start[8:12], 'an MP4 or MOV')} file; expected {READ_HERE}"
    return _name_text(start.strip()) or f"no known kind of picture; expected {READ_HERE}"


def _name_text(start: bytes) -> str | None:
    """What the text is; None when it is none."""
    fix = "send the bytes of the picture themselves"
    if start[:5].lower() == b"data:":
        return f"this is a data URI (text); {fix}"
    if start[:1] in (b"{", b"["):
        return f"this looks like JSON; {fix}"
    if re.match(rb"<\?xml|<svg|<!doctype|<html", start, re.IGNORECASE):
        return f"this looks like SVG, XML or HTML; expected {READ_HERE}"
    if len(start) >= 32 and re.fullmatch(rb"[0-9a-fA-F\s]+", start):
        return f"this looks like hexadecimal text; {fix}"
    packed = re.sub(rb"\s", b"", start)
    if len(packed) >= 32 and re.fullmatch(rb"[A-Za-z0-9+/_-]+={0,2}", packed):
        return f"this looks like base64 text{_inside(packed)}; {fix}"
    if re.fullmatch(rb"[\x20-\x7e\s]+", start):
        return f"this is text; expected {READ_HERE}"
    return None


def _inside(packed: bytes) -> str:
    try:
        inside = base64.b64decode(packed[: len(packed) // 4 * 4][:64], altchars=None, validate=False)
    except binascii.Error:
        return ""
    kinds = {b"\xff\xd8\xff": " of a JPEG", b"\x89PN": " of a PNG", b"RIF": " of a WebP"}
    return kinds.get(inside[:3], "")
