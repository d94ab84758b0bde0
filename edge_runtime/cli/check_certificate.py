"""The certificate of the servers, without running them: whether it can be used, and how long."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edge_runtime.errors import EdgeRuntimeError, Problem

if TYPE_CHECKING:
    from edge_runtime.config import Config
    from edge_runtime.serving.certificate import Certificate

SOON_S = 14 * 86_400.0
"""Programs that renew certificates do so a month before; one that is left has failed."""
EXPIRED = "http.tls.cert"
UNUSABLE = "http.tls"


def look_at_certificate(config: "Config") -> tuple[list[Problem | EdgeRuntimeError], list[str]]:
    """Problems and notes; none where nothing is encrypted."""
    from edge_runtime.serving.certificate import CertificateUnusable, open_certificate

    tls = config.http.tls
    if tls is None or not config.http.enabled:
        return [], []
    try:
        found = open_certificate(tls.cert, tls.key)
    except CertificateUnusable as err:
        err.where, err.line = UNUSABLE, config.line_of("http", "tls")
        return [err], []
    notes = list(_note(found, str(tls.key), time.time()))
    if found.ends_at_wall_s > time.time():
        return [], notes
    ended = f"the certificate {tls.cert} has expired on {_day(found.ends_at_wall_s)}"
    return [Problem(EXPIRED, config.line_of("http", "tls", "cert"), ended, "a renewed one")], notes


def _note(found: "Certificate", key: str, now_s: float) -> list[str]:
    notes = []
    if found.is_key_open:
        notes.append(f"http.tls.key: every user of this machine may read {key}: chmod o-r {key}")
    if now_s < found.begins_at_wall_s:
        begins = _day(found.begins_at_wall_s)
        notes.append(f"http.tls.cert: it counts from {begins} on; is the clock of this box right?")
    if now_s < found.ends_at_wall_s <= now_s + SOON_S:
        notes.append(f"http.tls.cert: it expires on {_day(found.ends_at_wall_s)}; renew it")
    return notes


def _day(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%d")
