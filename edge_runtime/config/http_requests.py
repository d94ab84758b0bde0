"""Parts of section ``http``: what others may have done, who they are, and the files with their tokens."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from calibration.stats.regular_file import read_regular
from edge_runtime.config.commands import RoleName
from edge_runtime.config.section import Section
from edge_runtime.config.values import FilePath, PictureSource, Seconds

MAX_TOKENS = 64
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{20,512}")
"""RFC 6750, section 2.1; the least length is 120 bits of Base64."""
TOKEN_EXPECTED = "one line of 20 to 512 letters, digits and ._~+/=- (openssl rand -base64 24)"  # noqa: S105


class PredictConfig(Section):
    """Pictures that are sent over HTTP to be answered."""

    enabled: bool = True
    """Off: such requests are refused."""
    queue: int = Field(default=8, ge=1, le=256)
    """Pictures that may be under way at a time, of all callers together; more are refused with 429."""
    timeout_s: Seconds = Field(default=10.0, le=600)
    """A picture that is not answered after this time is refused with 504, seconds."""
    fetch_from: tuple[PictureSource, ...] = Field(
        default=(), max_length=32, examples=[["https://pictures.example/line-3/"]]
    )
    """Where POST /predict may load the picture of a url from: beginnings of addresses, compared by scheme, host, port
    and whole levels of the path. Empty: nowhere. Needs the extra 'travel'."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Among the cameras of the same model; normal: as one camera more; low: only what the cameras leave."""


class HttpTokenConfig(Section):
    """One caller, known by a token."""

    file: FilePath = Field(examples=["/etc/edge-runtime/scanner.token"])
    """File with the token, one line: openssl rand -base64 24."""
    role: RoleName = "operator"
    """As for commands: a viewer reads; an operator also has pictures answered and sees cameras; an owner may all."""


class HttpTlsConfig(Section):
    """The servers encrypt, with a certificate of this box."""

    cert: FilePath = Field(examples=["/etc/edge-runtime/box.crt"])
    """Certificate (PEM), followed by those of the authorities between. A new one is taken as soon as it is there."""
    key: FilePath = Field(examples=["/etc/edge-runtime/box.key"])
    """Its key (PEM, no passphrase), which the daemon alone may read."""


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: there is no token in it; the text is what was expected, and never holds what was found.
    """
    text = read_regular(path, 1024).decode("ascii", "replace").rstrip("\r\n")
    if not _TOKEN.fullmatch(text):
        raise ValueError(TOKEN_EXPECTED)
    return text
