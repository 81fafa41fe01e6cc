"""A page on this machine that shows what the camera sees and what the controller says. It only looks.

Loopback only, GET only, and only under this machine's own name: a page elsewhere cannot read it through the browser.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_contracts.hosts import host_name

LOOPBACK = "127.0.0.1"
MOST_VIEWERS = 4
IMAGE_PERIOD_S = 0.1
"""At most so many pictures per second are encoded for each viewer; the arm needs the processor more."""
SILENCE_S = 1.0
"""A picture is sent again after so long: browsers show one when the next begins, and lost viewers are noticed."""
BOUNDARY = "picture"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Magma, live</title>
<style>body{font:16px system-ui,sans-serif;background:#18181c;color:#eee;margin:1rem;text-align:center}
img{width:min(90vw,80vh);image-rendering:pixelated;background:#000}b{font-size:1.3rem}</style>
<p><b id="phase">…</b> <span id="reason"></span><br><i id="instruction"></i></p><img src="/pictures" alt="camera">
<script>async function look() { try { const s = await (await fetch("/state")).json();
for (const name of ["phase", "reason", "instruction"]) document.getElementById(name).textContent = s[name] || ""; }
catch { document.getElementById("phase").textContent = "the graph has ended"; } }
look(); setInterval(look, 500)</script></html>"""


class LatestView:
    """The newest picture and state, handed from the node's thread to those of the viewers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pixels: NDArray[np.uint8] | None = None
        self._number = 0
        self._state: Mapping[str, str] = {"phase": "no controller heard"}
        self.closed = False

    def show(self, pixels: NDArray[np.uint8]) -> None:
        """Takes a picture (H, W, 3) RGB; the caller does not write to it again."""
        with self._changed:
            self._pixels = pixels
            self._number += 1
            self._changed.notify_all()

    def tell(self, phase: str, reason: str, instruction: str) -> None:
        """Takes what the controller says."""
        self._state = {"phase": phase, "reason": reason, "instruction": instruction}

    @property
    def state(self) -> Mapping[str, str]:
        return self._state

    def close(self) -> None:
        """Ends all streams."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def image_after(self, number: int, timeout_s: float) -> tuple[int, NDArray[np.uint8] | None]:
        """The number and pixels of a picture newer than `number`, or of the last one after the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number or self.closed, timeout_s)
            return self._number, self._pixels


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """The picture as a JPEG file."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])


def serve(view: LatestView, port: int) -> ThreadingHTTPServer:
    """Serves the page in threads of its own, which end with the process.

    Args:
        view: what is shown.
        port: on the loopback interface; 0 takes a free one (`server_address`).

    Raises:
        OSError: the port is taken.
    """
    viewers = threading.BoundedSemaphore(MOST_VIEWERS)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if host_name(self.headers.get("Host")) not in (LOOPBACK, "localhost"):
                self.send_error(HTTPStatus.FORBIDDEN, "this page is for this machine")
            elif self.path == "/":
                self._answer("text/html; charset=utf-8", PAGE.encode())
            elif self.path == "/state":
                self._answer("application/json", json.dumps(view.state).encode())
            elif self.path != "/pictures":
                self.send_error(HTTPStatus.NOT_FOUND)
            elif not viewers.acquire(blocking=False):
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers")
            else:
                try:
                    self._stream()
                except OSError:
                    pass  # the viewer has gone
                finally:
                    viewers.release()

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            boundary = f"\r\n--{BOUNDARY}\r\n".encode()
            self.wfile.write(boundary.lstrip())
            number, pause = 0, threading.Event()
            while not view.closed:
                number, pixels = view.image_after(number, SILENCE_S)
                if pixels is None:
                    continue
                data = jpeg(pixels)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                # The boundary of the next picture at once: browsers show one when they know that it is whole.
                self.wfile.write(head.encode() + data + boundary)
                pause.wait(IMAGE_PERIOD_S)

        def log_message(self, format: str, *args: Any) -> None:
            """Viewers are not worth a line."""

    server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="live page", daemon=True).start()
    return server
