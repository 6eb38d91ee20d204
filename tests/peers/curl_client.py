"""libcurl of the package curl-cffi as a client of HTTP/2 proxies, which Debian's curl cannot be: `fetch`.

Run as a program, it is the process that `fetch` starts, since a transfer in libcurl cannot be ended from outside.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.peers.process import end, scratch_directory
from tests.peers.proxies import Proxy

SECONDS = 30.0
_HTTPS, _HTTPS2 = 2, 3  # of CURLOPT_PROXYTYPE: both by TLS, with HTTP/1.1 and with HTTP/2
_HTTP_1_1 = 2  # of CURLOPT_HTTP_VERSION, for the target


class Transfer(NamedTuple):
    """The result of one transfer. `error`: libcurl's text if it failed."""

    error: str
    status: int
    connections: int  # made for it; 0 if an earlier transfer's was used
    body: bytes


class Result(NamedTuple):
    transfers: list[Transfer]
    log: str  # what libcurl tells with CURLOPT_VERBOSE

    @property
    def negotiated(self) -> list[str]:
        """The protocol of each connection to the proxy, by ALPN."""
        return re.findall("CONNECT: '(.*)' negotiated", self.log)

    @property
    def responses(self) -> list[str]:
        """The statuses of the responses to CONNECT over HTTP/2; libcurl's own record of them is empty there."""
        return re.findall(r"CONNECT Response Status (\d+)", self.log)


@contextmanager
def started(
    directory: Path, proxy: Proxy, *urls: str, authority: Path, upload: Path | None = None, http2: bool = True, user: str = ""
) -> Iterator["subprocess.Popen[bytes]"]:
    """Starts transfers through a proxy over TLS, one after another; ends the process after the body.

    `authority` is for the proxy and for https:// targets, `upload` is a file to POST, `user` is USER:PASSWORD for the proxy.
    Bodies are written to `directory`, one file a transfer; the results are one line of JSON each on stdout.
    """
    options = {
        "PROXY": f"https://{proxy.host}:{proxy.port}",
        "PROXYTYPE": _HTTPS2 if http2 else _HTTPS,
        "HTTPPROXYTUNNEL": 1,
        "PROXY_CAINFO": str(authority),
        "CAINFO": str(authority),  # without it the package sets both
        "NOPROXY": "",
        "HTTP_VERSION": _HTTP_1_1,
        "VERBOSE": 1,
        **({"PROXYUSERPWD": user} if user else {}),
    }
    work = {"options": options, "urls": urls, "upload": upload and str(upload), "directory": str(directory)}
    command = [sys.executable, "-m", "tests.peers.curl_client", json.dumps(work)]
    root = Path(__file__).parents[2]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=root)
    try:
        yield process
    finally:
        end(process)
        process.stdout.close()


def fetch(proxy: Proxy, *urls: str, authority: Path, upload: Path | None = None, http2: bool = True, user: str = "") -> Result:
    """Makes transfers through a proxy over TLS, one after another; for the arguments see `started`."""
    with scratch_directory() as directory:
        with started(directory, proxy, *urls, authority=authority, upload=upload, http2=http2, user=user) as process:
            output, _ = process.communicate(timeout=SECONDS)
        log = (directory / "log").read_text(errors="replace")
        assert process.returncode == 0, log
        bodies = [(directory / f"body-{number}").read_bytes() for number in range(len(urls))]
    rows = [json.loads(line) for line in output.splitlines()]
    return Result([Transfer(**row, body=body) for row, body in zip(rows, bodies, strict=True)], log)


def _perform(work: dict[str, Any]) -> None:
    from curl_cffi import Curl, CurlError, CurlInfo, CurlOpt

    curl = Curl()
    for name, value in work["options"].items():
        curl.setopt(getattr(CurlOpt, name), value.encode() if isinstance(value, str) else value)
    if work["upload"] is not None:
        data = Path(work["upload"]).read_bytes()
        curl.setopt(CurlOpt.POSTFIELDSIZE, len(data))
        curl.setopt(CurlOpt.COPYPOSTFIELDS, data)
    for number, url in enumerate(work["urls"]):
        error = ""
        with open(f"{work['directory']}/body-{number}", "wb") as body:
            curl.setopt(CurlOpt.URL, url.encode())
            curl.setopt(CurlOpt.WRITEDATA, body)
            try:
                curl.perform(clear_resolve=False)
            except CurlError as failure:
                error = str(failure)
        asked = {"status": CurlInfo.RESPONSE_CODE, "connections": CurlInfo.NUM_CONNECTS}
        print(json.dumps({"error": error, **{name: curl.getinfo(info) for name, info in asked.items()}}), flush=True)
    curl.close()


if __name__ == "__main__":
    _perform(json.loads(sys.argv[1]))
