"""An HTTPS server on loopback with a certificate of its own: the usual target behind CONNECT."""

import functools
import hashlib
import http.server
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers.process import path_of


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Creates a self-signed certificate for 127.0.0.1 and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([path_of("openssl"), *words, *subject, *files], check=True, capture_output=True, timeout=20)
    return certificate, key


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        """Answers with the request body and, in X-Seen, its checksum."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Seen", hashlib.sha256(body).hexdigest())
        self.end_headers()
        self.wfile.write(body)


def _handler(directory: Path) -> Callable[..., http.server.BaseHTTPRequestHandler]:
    """A handler that serves the files under `directory` for GET, and echoes for POST."""
    return functools.partial(_Quiet, directory=str(directory))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for the threads
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        sock, address = super().get_request()
        sock.settimeout(20)
        if self.tls is not None:
            try:
                sock.getpeername()
            except OSError:  # already reset: ssl would fail and leave the socket to the garbage collector
                sock.close()
                raise
            # The handshake must run in the connection's thread: here it would block the others.
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def handle_error(self, request: object, address: object) -> None:
        pass  # ignores clients that leave


@contextmanager
def web_server(directory: Path, certificate: tuple[Path, Path] | None = None) -> Iterator[int]:
    """Serves the files under `directory` on 127.0.0.1, over TLS if there is a certificate; yields the port."""
    server = _Server(("127.0.0.1", 0), _handler(directory))
    if certificate is not None:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.tls.load_cert_chain(*certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()
