"""A real HTTP camera: multipart JPEG, one numbered picture after the other, with faults on demand."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from tests.support.video_clips import numbered_picture


class MjpegCamera:
    """Serves on a free loopback port until closed; ``width`` may be changed and ``frozen`` set at any time."""

    def __init__(self, fps: float = 25, width: int = 320) -> None:
        self.width, self.interval_s = width, 1 / fps
        self.frozen, self.hung_up, self._closed = threading.Event(), threading.Event(), threading.Event()
        self.viewers = 0
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.viewers += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    camera.stream(self.wfile)
                except (BrokenPipeError, ConnectionResetError):
                    return

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/video"

    def stream(self, out) -> None:
        number = 0
        while not self._closed.wait(self.interval_s) and not self.hung_up.is_set():
            if self.frozen.is_set():
                continue
            picture = numbered_picture(number, self.width, self.width * 3 // 5)
            jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            out.write(head.encode() + jpeg + b"\r\n")
            number = (number + 1) % 4096

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
