"""gRPC over TLS, with a certificate that is renewed meanwhile."""

import subprocess
import sys
import time

import grpc
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from edge_runtime.grpc.server import GrpcServer
from edge_runtime.grpc.service import InferenceService
from edge_runtime.serving import certificate
from edge_runtime.serving.certificate import CertificateFiles, CertificateUnusable
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.system.supervised_thread import Crashes
from tests.support.http_bench import Bench
from tests.support.mosquitto import free_port, make_tls_files
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def make_server(bench, files):
    read = CertificateFiles(files.server_cert, files.server_key, time.monotonic)
    return GrpcServer(
        "127.0.0.1", free_port(), bench.predict.max_body_bytes,
        lambda: InferenceService(bench.predict, lambda: True, RequestCounts()).make_handler(), Crashes(), read,
    )  # fmt: skip


def is_served(port, ca):
    """By the stock client, which trusts this authority."""
    with triton.InferenceServerClient(f"127.0.0.1:{port}", ssl=True, root_certificates=str(ca)) as client:
        try:
            return client.is_server_live(client_timeout=WAIT_S / 10)
        except InferenceServerException:
            return False


def test_calls_are_encrypted_and_a_renewed_certificate_is_taken(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(certificate, "LOOK_EVERY_S", 0.0)
    files, new = make_tls_files(tmp_path / "first"), make_tls_files(tmp_path / "second")
    server = make_server(bench, files)
    server.start()
    try:
        assert until(lambda: is_served(server.port, files.ca))
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as plain, pytest.raises(grpc.RpcError):
            plain.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=WAIT_S / 10)
        for before, after in ((files.server_cert, new.server_cert), (files.server_key, new.server_key)):
            before.write_bytes(after.read_bytes())
        assert until(lambda: is_served(server.port, new.ca))
        assert not is_served(server.port, files.ca)
    finally:
        server.stop()


def test_files_that_do_not_fit_are_an_error_of_the_start(bench, tmp_path):
    files = make_tls_files(tmp_path / "tls")
    files.server_key.write_bytes(files.client_key.read_bytes())
    server = make_server(bench, files)
    with pytest.raises(CertificateUnusable):
        server.start()
    server.stop()


STRANGERS = """
import socket, sys, time
from pathlib import Path
from edge_runtime.grpc.server import GrpcServer, require_grpc
from edge_runtime.serving.certificate import CertificateFiles
from edge_runtime.system.supervised_thread import Crashes

require_grpc()
import grpc

ca, cert, key, port = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
handler = grpc.method_handlers_generic_handler("x", {})
files = CertificateFiles(cert, key, time.monotonic)
server = GrpcServer("127.0.0.1", port, 1000, lambda: handler, Crashes(), files)
server.start()
trusted = grpc.ssl_channel_credentials(ca.read_bytes())
with grpc.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
    grpc.channel_ready_future(channel).result(60)
for _ in range(3):
    with socket.create_connection(("127.0.0.1", port), 60) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
        stranger.recv(100)
server.stop()
"""


def test_strangers_write_nothing_into_the_log(tmp_path):
    """The library has lines of its own, on standard error; what it writes is set at its first use in a process."""
    files = make_tls_files(tmp_path / "tls")
    given = [files.ca, files.server_cert, files.server_key, free_port()]
    command = [sys.executable, "-c", STRANGERS, *map(str, given)]
    ran = subprocess.run(command, capture_output=True, timeout=WAIT_S, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (0, b"")
