"""The page for a person: what a running `forward`, `run` or `serve` does, as one HTML document.

The document is complete without scripts: sorts, filters and further pages are links and a form, whose choices are in the query of
the URL. The script fetches the same URL every two seconds and copies what has changed into the document, so that this renderer is
the only template. It keeps what a person has selected, focused, scrolled to or typed.

Style and script are in the document: it takes one request, and nothing comes from elsewhere. The Content-Security-Policy admits
just these two by their hashes. So if a hostile name ever got past the escaping in `markup`, it could still run nothing, load
nothing and send nothing.

    overview      the program, notices, sums, what it listens on and leads to
    tunnels       the table of open tunnels
    history       refusals, rules, what has ended
    view, table   the choice of rows; how a table looks
    markup        escaping
"""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import sha256
from pkgutil import get_data

from tunnelctl.control.page import history, overview, tunnels
from tunnelctl.control.page.markup import counted, plain
from tunnelctl.control.page.view import parse
from tunnelctl.control.snapshot import Recent, Status, Tunnels

# A page that has no icon makes a browser ask for /favicon.ico. This one is a tunnel.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%230b6b5d' "
    "d='M1 15V8a7 7 0 0 1 14 0v7h-4V8a3 3 0 0 0-6 0v7z'/%3E%3C/svg%3E"
)


def _read(name: str) -> str:
    """Returns a file of this package, which may be in a zip archive."""
    data = get_data(__name__, name)
    assert data is not None
    return data.decode()


def _hash(source: str) -> str:
    """Returns the source expression for a style or a script in the document (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{b2a_base64(sha256(source.encode()).digest(), newline=False).decode()}'"


_STYLE, _SCRIPT = _read("page.css"), _read("page.js")

_POLICY = (
    "default-src 'none'",
    f"style-src {_hash(_STYLE)}",
    f"script-src {_hash(_SCRIPT)}",
    "connect-src 'self'",  # the script fetches the page itself
    "img-src data:",  # the icon
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)

KIND = "text/html; charset=utf-8"
HEADERS = (
    ("Content-Security-Policy", "; ".join(_POLICY)),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),  # otherwise a page at another port of this machine could embed it
)


def render(status: Status, found: Tunnels, recent: Recent, query: str) -> bytes:
    """Returns the document. query: of the URL, without the question mark; what is not valid in it is ignored"""
    view = parse(query)
    name = plain(f"{counted(status.tunnels, 'tunnel')} · {status.name or status.command} · tunnelctl")
    silent = max(found.silent_workers, recent.silent_workers)
    parts = (
        overview.notices(status, silent),
        overview.sums(status, found, recent),
        overview.panels(status),
        tunnels.section(found, view),
        history.sections(recent, view, status.now, ruled=status.command == "serve"),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f'<link rel="icon" href="{_ICON}">\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f"<header>\n<div data-live>{overview.title(status)}</div>\n"
        '<div class="live"><p id="live" role="status"></p><button id="pause" type="button" hidden>Pause</button></div>\n</header>\n'
        f"<main data-live>\n{''.join(parts)}</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    ).encode()
