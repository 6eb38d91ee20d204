"""Tests reading the text of a PAC file."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.pac import source as pac_source
from tunnelctl.client.pac.source import MAX_OCTETS, MAX_REDIRECTS, read
from tunnelctl.errors import SettingsError


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/hop"):
            left = int(self.path[4:])
            self.send_response(302)
            self.send_header("Location", f"/hop{left - 1}" if left else "/pac")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        body = {"/pac": "return 'ä'".encode("latin-1"), "/utf8": "ä".encode(), "/large": b"x" * (MAX_OCTETS + 1)}[self.path]
        self.send_response(200)
        charset = "; charset=utf-8" if self.path == "/utf8" else ""
        self.send_header("Content-Type", f"application/x-ns-proxy-autoconfig{charset}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join(timeout=10)


def fails(source: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(source)
    assert "secret" not in f"{caught.value} {hint_of(caught.value)}"
    return caught.value


def test_a_url_and_its_character_set(server: str) -> None:
    assert read(f"{server}/pac") == "return 'ä'"
    assert read(f"{server.replace('http', 'HTTP')}/utf8") == "ä"


def test_proxies_in_the_environment_are_not_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert read(f"{server}/pac")


def test_the_number_of_redirects_is_limited(server: str) -> None:
    assert read(f"{server}/hop{MAX_REDIRECTS - 1}") == "return 'ä'"
    assert fails(f"{server}/hop{MAX_REDIRECTS}").cause == "cannot be fetched: too many redirects"


def test_error_responses_of_the_server(server: str) -> None:
    assert fails(f"{server}/missing").cause == "its server responds with 404 Not Found"
    assert fails(f"{server}/large").cause == "larger than 1024 KiB"
    assert "404" in fails(f"{server.replace('//', '//u:secret@')}/missing").cause


def test_a_slow_server_exceeds_the_time_limit(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1000.0])
    monkeypatch.setattr(pac_source, "monotonic", lambda: next(clock))
    assert fails(f"{server}/pac").cause == "fetching it takes more than 30 s"


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://127.0.0.1:1/", "cannot be fetched: connection refused"),
        ("http://", "cannot be fetched"),
        ("http://a:99999/", "cannot be fetched"),
        ("file://[x", "its URL is not valid"),
        ("ftp://[x/y", "its URL is not valid"),
        ("http://a\x00b/", "its URL is not valid"),
        ("ftp://a/b", "it must be a path, or an http, https or file URL"),
        ("file://other.test/a", "it must be a path, or an http, https or file URL"),
    ],
)
def test_unusable_urls(url: str, cause: str) -> None:
    assert fails(url).cause.startswith(cause)


def test_paths_and_file_urls(tmp_path: Path) -> None:
    file = tmp_path / "a b.pac"
    file.write_bytes("ü".encode("latin-1"))
    assert read(str(file)) == "ü"
    assert read(f"file://{tmp_path}/a%20b.pac") == "ü"
    assert read(f"FILE://localhost{tmp_path}/a%20b.pac") == "ü"
    assert fails(str(tmp_path / "none")).cause == "no such file or directory"
    assert fails(str(tmp_path)).cause == "is a directory"
    assert fails("a\0b").cause == "its name contains a NUL"
    file.write_bytes(b"x" * (MAX_OCTETS + 1))
    assert "larger" in fails(str(file)).cause


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_determines_the_character_set(tmp_path: Path, codec: str) -> None:
    (tmp_path / "pac").write_bytes("ü".encode(codec))
    assert read(str(tmp_path / "pac")) == "ü"


def test_character_sets_named_by_the_server() -> None:
    assert pac_source._decode("ü".encode(), "UTF-8") == "ü"
    assert pac_source._decode("ü".encode("utf-8-sig"), "utf-8") == "ü"
    assert pac_source._decode("ü".encode("latin-1"), "no-such") == "ü"


@pytest.mark.parametrize("url", ["http://user:canary/x@host.invalid/", "http://user:canary@host.invalid:x/"])
def test_no_error_shows_the_password_of_the_url(url: str) -> None:
    error = fails(url)
    assert "canary" not in f"{error} {hint_of(error)}"
