"""The live dashboard: the same page, served on loopback, told when a run has ended."""

import json
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nasc.dashboard.page import render_page
from nasc.dashboard.payload import Payload, collect_payload, to_text
from nasc.errors import UsageError

HOST, PORT = "127.0.0.1", 8321
WATCH_S = 0.5
"""Seconds between two looks at the folders."""

_LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}


class Dashboard:
    """Serves the runs under some paths until it is closed.

    Args:
        paths: Run folders, folders of runs, record files or ledgers.
        host: Where to listen; loopback unless told otherwise.
        port: Where to listen; 0 for any that is free.

    Raises:
        UsageError: The port is in use, or may not be used.
    """

    def __init__(self, paths: Sequence[Path], *, host: str = HOST, port: int = PORT) -> None:
        self.paths = tuple(paths)
        self._lock = threading.Lock()
        self._seen: tuple[Any, ...] | None = None
        self.version = 0
        self.payload = self.refresh()
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self, host))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror}", "choose another with --port, or 0 for any"
            ) from error
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def serve(self) -> None:
        """Answer until :meth:`close` is called."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def refresh(self) -> Payload:
        """Read the folders again if something in them has changed; a new version counts one up."""
        with self._lock:
            seen = _fingerprint(self.paths)
            if seen != self._seen:
                self._seen = seen
                self.payload = collect_payload(self.paths)
                self.version += 1
            return self.payload


def _fingerprint(paths: Sequence[Path]) -> tuple[Any, ...]:
    """Name, time and size of every file that holds a record."""
    found = []
    for path in paths:
        inside = (
            [path]
            if path.is_file()
            else [*path.glob("*.jsonl"), *path.glob("record.json"), *path.glob("*/record.json")]
        )
        for file in sorted(inside):
            try:
                status = file.stat()
            except OSError:  # replaced this very moment
                continue
            found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)


def _handler(dashboard: Dashboard, host: str) -> type[BaseHTTPRequestHandler]:
    """The handler of one dashboard."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer."""
            if host == HOST and not self._asked_locally():
                self.send_error(HTTPStatus.FORBIDDEN, "this dashboard answers to its own machine")
                return
            path = self.path.partition("?")[0]
            if path == "/":
                self._send("text/html; charset=utf-8", render_page(dashboard.refresh(), live=True))
            elif path == "/data.json":
                self._send("application/json", to_text(dashboard.refresh().overview()))
            elif path == "/events":
                self._stream()
            elif path.startswith("/blocks/") and path[8:].isdecimal() and int(path[8:]) < dashboard.payload.blocks:
                self._send("application/json", to_text(dashboard.payload.block(int(path[8:]))))
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _asked_locally(self) -> bool:
            """The name asked for is this machine's: a page from elsewhere that points its own name here is refused."""
            return self.headers.get("Host", "").rpartition(":")[0] in _LOCAL_NAMES

        def _send(self, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self._write(content)

        def _stream(self) -> None:
            """Server-sent events: the number of the version, whenever it changes."""
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            told = 0
            while True:
                dashboard.refresh()
                line = f"data: {json.dumps(dashboard.version)}\n\n" if dashboard.version != told else ": still here\n\n"
                told = dashboard.version
                if not self._write(line.encode()):
                    return
                time.sleep(WATCH_S)

        def _write(self, content: bytes) -> bool:
            """Whether the browser was still there."""
            try:
                self.wfile.write(content)
                self.wfile.flush()
            except OSError:
                return False
            return True

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are no news."""

    return Handler
