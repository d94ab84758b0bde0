"""The certificate of the servers, without running them: whether it can be used, and how long."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edge_runtime.errors import EdgeRuntimeError, Problem

if TYPE_CHECKING:
    from edge_runtime.config import Config
    from edge_runtime.serving.certificate import Certificate

EXPIRED = "http.tls.cert"
UNUSABLE = "http.tls"


def look_at_certificate(config: "Config") -> tuple[list[Problem | EdgeRuntimeError], list[str]]:
    """Problems and notes; none where nothing is encrypted."""
    from edge_runtime.serving.certificate import CertificateUnusable, describe_end, open_certificate

    tls = config.http.tls
    if tls is None or not config.http.enabled:
        return [], []
    try:
        found = open_certificate(tls.cert, tls.key)
    except CertificateUnusable as err:
        err.where, err.line = UNUSABLE, config.line_of("http", "tls")
        return [err], []
    now_s = time.time()
    notes = list(_note(found, str(tls.key), now_s))
    end = describe_end(found.ends_at_wall_s, now_s)
    if end is None:
        return [], notes
    if found.ends_at_wall_s > now_s:
        return [], [*notes, f"http.tls.cert: it {end}; renew it"]
    line = config.line_of("http", "tls", "cert")
    return [Problem(EXPIRED, line, f"the certificate {tls.cert} {end}", "a renewed one")], notes


def _note(found: "Certificate", key: str, now_s: float) -> list[str]:
    notes = []
    if found.is_key_open:
        notes.append(f"http.tls.key: every user of this machine may read {key}: chmod o-r {key}")
    if now_s < found.begins_at_wall_s:
        begins = datetime.fromtimestamp(found.begins_at_wall_s, UTC).strftime("%Y-%m-%d")
        notes.append(f"http.tls.cert: it counts from {begins} on; is the clock of this box right?")
    return notes
