"""Chromium without a screen, that prints the page which it has made of what it loaded."""

import subprocess
from pathlib import Path

from tests.peers.process import path_of

_QUIET = (
    "--headless",
    "--no-sandbox",  # it will not run as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def page(url: str, proxy: str, profile: Path, seconds: float = 60) -> str:
    """The document at `url` after its scripts have run, loaded through `proxy`, also where it is on loopback."""
    words = ["--dump-dom", "--ignore-certificate-errors", f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>"]
    command = [path_of("chromium"), *_QUIET, f"--user-data-dir={profile}", *words, url]
    done = subprocess.run(command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode()
