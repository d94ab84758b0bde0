"""The HTTP side: health, status, results and the dashboard, on loopback unless told otherwise."""

from edge_runtime.http.server import HttpServer, HttpUnavailable

__all__ = ["HttpServer", "HttpUnavailable"]
