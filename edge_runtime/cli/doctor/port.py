"""The ports of the status page and of gRPC: free, or taken by the daemon itself, or by another program."""

import errno
import http.client
import ssl
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import psutil

from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.cli.free_port import try_port
from edge_runtime.config import Config
from edge_runtime.errors import ExitCode
from edge_runtime.serving.access import CHALLENGE

_ANSWER_S = 2.0
_PURPOSES = {"http.port": "the status page", "http.grpc_port": "gRPC"}


def examine_port(config: Config, daemon_pid: int | None = None) -> Iterator[Finding]:
    """Try whether each could be opened; when not, ask who answers there."""
    if not config.http.enabled:
        yield fine("port", "no status page is configured")
        return
    for key, port in config.http.ports.items():
        yield _examine(config, key, port, daemon_pid)


def examine_health(config: Config) -> Iterator[Finding]:
    """What the running daemon says against itself, such as a sensor that is silent; nothing without one."""
    status = _ask(config) if config.http.enabled else {}
    if status.get("device") != config.device or not (health := status.get("health")):
        return
    advice = "the log says more; docs/operations.md says what is looked at"
    reasons = [f"the daemon says: {reason}" for reason in health["reasons"]]
    if not health["ready"] and reasons:
        yield problem("health.unready", reasons.pop(0), advice, ExitCode.UNAVAILABLE)
    for reason in reasons:
        yield note("health.note", reason, advice)
    if health["ready"] and not reasons:
        yield fine("health", "the daemon is ready, and has nothing to note")


def _examine(config: Config, key: str, port: int, daemon_pid: int | None) -> Finding:
    host, purpose = config.http.host, _PURPOSES[key]
    try:
        try_port(host, port)
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            return _judge_taken(config, key, port, daemon_pid)
        found = f"{host}:{port} cannot be opened: {err.strerror}"
        advice = f"use a port above 1023 and an address of this box ({key}, http.host)"
        return problem("port.unusable", found, advice, ExitCode.UNAVAILABLE)
    return fine("port", f"{host}:{port} is free for {purpose}")


def _judge_taken(config: Config, key: str, port: int, daemon_pid: int | None) -> Finding:
    """The daemon is known by its number where that can be seen, else by the answer of its page.

    That says little of the port of gRPC: where it is taken, the daemon answers without it.
    """
    place, pid = f"{config.http.host}:{port}", _find_listener(port)
    is_own = pid is not None and pid == daemon_pid
    is_known = bool(daemon_pid) and pid is not None and port != config.http.port
    if is_own or (not is_known and _ask(config).get("device") == config.device):
        return fine("port", f"the daemon answers at {place}")
    found = f"{place}, the port of {_PURPOSES[key]}, is taken by {_name_program(pid)}"
    return problem("port.taken", found, f"set {key} to a free one, or end that program", ExitCode.UNAVAILABLE)


def _ask(config: Config) -> Mapping[str, Any]:
    """The status of the daemon that answers, or its device alone; empty when there is none."""
    connection: http.client.HTTPConnection
    host, port = config.http.host, config.http.port
    if config.http.tls is None:
        connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=_ANSWER_S, context=_trust_all())
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        if answer.status == HTTPStatus.UNAUTHORIZED and answer.headers.get("WWW-Authenticate") == CHALLENGE:
            # No other program says that; which box it is, it tells no one without a token.
            return {"device": config.device}
        found = orjson.loads(answer.read(2**22))
        return found if isinstance(found, dict) else {}
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()


def _trust_all() -> ssl.SSLContext:
    """Nothing secret is sent; the names of a certificate are those that others call the box by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _find_listener(port: int) -> int | None:
    """The process that listens; None when it is another user's."""
    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr[1:2] == (port,):
                return one.pid
    except (psutil.Error, OSError):
        return None
    return None


def _name_program(pid: int | None) -> str:
    try:
        return f"{psutil.Process(pid).name()} (process {pid})" if pid is not None else "another program"
    except psutil.Error:
        return "another program"
