"""Headless Chromium, which prints the page as rendered after loading."""

import subprocess
from pathlib import Path

from tests.peers.process import path_of

_QUIET = (
    "--headless",
    "--no-sandbox",  # as root it does not run with a sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def page(url: str, proxy: str, profile: Path, seconds: float = 60) -> str:
    """Loads `url` through `proxy`, even if it is on loopback; returns the document after its scripts have run."""
    words = ["--dump-dom", "--ignore-certificate-errors", f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>"]
    command = [path_of("chromium"), *_QUIET, f"--user-data-dir={profile}", *words, url]
    done = subprocess.run(command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode()
