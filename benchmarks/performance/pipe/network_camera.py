"""A network camera: a clip over HTTP in real time, again and again."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def network_camera(clip: Path) -> Iterator[str]:
    """Its address, which plays the clip over and over, to each caller from the beginning."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            _play(clip, self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/stream.ts"
        finally:
            server.shutdown()


def _play(clip: Path, client: BaseHTTPRequestHandler) -> None:
    command = ["ffmpeg", "-nostdin", "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", str(clip)]
    command += ["-c", "copy", "-f", "mpegts", "-flush_packets", "1", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as player:
        assert player.stdout is not None
        try:
            while part := player.stdout.read1(65536):  # type: ignore[attr-defined]
                client.wfile.write(part)
        except OSError:  # the client is gone
            pass
        finally:
            player.kill()
