"""A collector of OpenTelemetry's: takes OTLP over HTTP, and keeps the spans. It may refuse."""

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """As it arrived."""

    name: str
    id: bytes
    parent: bytes
    trace: bytes
    start_ns: int
    end_ns: int
    attributes: dict
    resource: dict


class OtlpReceiver:
    """``with OtlpReceiver() as receiver: ...``; ``receiver.status`` is what it answers, while ``may_answer`` is set."""

    def __init__(self):
        self.spans, self.status, self.refused, self.asked = [], 200, 0, 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.asked += 1
                if not receiver.may_answer.is_set():
                    receiver.may_answer.wait()
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self.path, self.headers, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def take(self, path, headers, body):
        assert (path, headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
        if self.status != 200:
            self.refused += 1
            return
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _read(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self.spans += [
                    Span(
                        one.name, one.span_id, one.parent_span_id, one.trace_id,
                        one.start_time_unix_nano, one.end_time_unix_nano, _read(one.attributes), resource,
                    )
                    for one in scope.spans
                ]  # fmt: skip

    def children_of(self, span):
        """In the order of their times."""
        found = [one for one in self.spans if one.parent == span.id and one.trace == span.trace]
        return sorted(found, key=lambda one: (one.start_ns, one.end_ns))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _read(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
