"""A small server of the page, which shows what a test lets the program say."""

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.control import samples
from tunnelctl.control.page import HEADERS, KIND, render
from tunnelctl.control.snapshot import Recent, Status, Tunnels


class Server(ThreadingHTTPServer):
    """One that knows its connections."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.accepted: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.accepted.append(connection)
        return connection, address


class Site:
    """A server of the page, at a port of its own, as long as it is open."""

    def __init__(self) -> None:
        self.facts = everything(100)
        self.requests: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                body = site.render(self.path.partition("?")[2])
                self.send_response(200)
                for name, value in (*HEADERS, ("Content-Type", KIND), ("Content-Length", str(len(body)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self._thread.start()

    def render(self, query: str) -> bytes:
        return render(*self.facts, query)

    def show(self, count: int, **changes: Any) -> None:
        """Changes what the program says."""
        self.facts = everything(count, **changes)

    def close(self) -> None:
        if self._thread.is_alive():
            self.server.shutdown()
            self._thread.join()
            self.server.server_close()
            for accepted in self.server.accepted:  # Chromium keeps a spare connection, without a request
                with suppress(OSError):
                    accepted.shutdown(socket.SHUT_RDWR)


def everything(count: int, **changes: Any) -> tuple[Status, Tunnels, Recent]:
    return samples.status(tunnels=count, **changes), samples.tunnels(count), samples.recent()
