"""Clients of other makers on HTTP/2 connections to `serve`: libcurl, Chromium and node.

For the library h2 see test_http2_peers.py.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import browser, certificates, curl_client
from tests.peers.certificates import HOST, Certificates
from tests.peers.https import web_server
from tests.peers.process import path_of, scratch_directory, wait_until
from tests.peers.program import SOON, Serve
from tests.peers.proxies import Proxy
from tests.peers.scripted import Conversation, ScriptedServer, echo, refusing_port, sample
from tests.peers.targets import Sink

pytestmark = pytest.mark.once  # other makers' programs know of no poller of ours

MIB = 1 << 20


@pytest.fixture(scope="module")
def company() -> Iterator[Certificates]:
    with scratch_directory() as directory:
        yield certificates.make(directory)


@pytest.fixture(scope="module")
def proxy(company: Certificates) -> Iterator[Proxy]:
    with Serve("--tls-cert", str(company.chain), "--tls-key", str(company.key)) as serve:
        yield Proxy(serve.port, "https", HOST)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, company: Certificates) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "file").write_bytes(sample(MIB))
    (directory / "page.html").write_text("<p id=p></p><script>p.textContent = 'made ' + 'here'</script>")
    with web_server(directory, company.server) as port:
        yield port


@pytest.mark.peer("curl-cffi")
def test_libcurl_up_and_down(proxy: Proxy, site: int, company: Certificates, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(sample(MIB, 2))
    url = f"https://127.0.0.1:{site}/file"
    down = curl_client.fetch(proxy, url, url, authority=company.authority)
    assert [(done.error, done.body == sample(MIB)) for done in down.transfers] == [("", True)] * 2
    assert (down.negotiated, down.responses) == (["h2"], ["200"])
    up = curl_client.fetch(proxy, url, authority=company.authority, upload=upload)
    assert [(done.error, done.body == sample(MIB, 2)) for done in up.transfers] == [("", True)]


@pytest.mark.peer("curl-cffi")
def test_libcurl_is_refused(proxy: Proxy, company: Certificates) -> None:
    sock, port = refusing_port()
    with sock:
        done = curl_client.fetch(proxy, f"https://127.0.0.1:{port}/", authority=company.authority)
    assert done.responses == ["502"]
    assert done.transfers[0].error


@pytest.mark.peer("curl-cffi")
def test_a_killed_libcurl_resets_the_target(proxy: Proxy, company: Certificates, tmp_path: Path) -> None:
    sink = Sink()
    with ScriptedServer(sink) as target:
        with curl_client.started(tmp_path, proxy, f"https://{target.authority}/", authority=company.authority) as process:
            wait_until(lambda: target.conversations, what="a connection to the target")
            process.kill()
        wait_until(lambda: sink.endings, what="the end at the target")
    assert sink.endings == ["reset"]


@pytest.mark.peer("curl-cffi")
def test_libcurl_notices_a_target_that_resets(proxy: Proxy, company: Certificates) -> None:
    def script(target: Conversation) -> None:
        target.read_exactly(1)
        target.reset()

    with ScriptedServer(script) as target:
        done = curl_client.fetch(proxy, f"https://{target.authority}/", authority=company.authority)
    assert done.transfers[0].error


@pytest.mark.peer("chromium")
def test_chromium(proxy: Proxy, site: int, tmp_path: Path) -> None:
    assert "made here" in browser.page(f"https://127.0.0.1:{site}/page.html", proxy.url, tmp_path / "profile")


NODE = """
const http2 = require("http2"), fs = require("fs");
const [url, ca, target, what] = process.argv.slice(1);
const session = http2.connect(url, {ca: fs.readFileSync(ca)});
const stream = session.request({":method": "CONNECT", ":authority": target}, {endStream: false});
let data = "", said = [];
stream.on("response", head => {
  said.push(head[":status"]);
  if (what === "echo") { stream.write("hello"); stream.end(); }
  else if (what === "rst") stream.write("x", () => setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 200));
  else if (what === "kill") stream.write("x", () => setTimeout(() => session.destroy(), 200));
  else stream.write("x");
});
stream.on("data", piece => data += piece);
stream.on("end", () => said.push("end"));
stream.on("error", error => said.push(error.code));
stream.on("close", () => { console.log(JSON.stringify([...said, data, stream.rstCode])); session.close(); });
"""


def node(proxy: Proxy, company: Certificates, target: str, what: str) -> str:
    command = [path_of("node"), "-e", NODE, proxy.url, str(company.authority), target, what]
    done = subprocess.run(command, capture_output=True, timeout=SOON, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


@pytest.mark.peer("node")
def test_node_echo_and_end(proxy: Proxy, company: Certificates) -> None:
    with ScriptedServer(echo) as target:
        assert node(proxy, company, target.authority, "echo") == '[200,"end","hello",0]'


@pytest.mark.peer("node")
def test_node_sees_the_reset_of_a_target(proxy: Proxy, company: Certificates) -> None:
    def script(target: Conversation) -> None:
        target.read_exactly(1)
        target.reset()

    with ScriptedServer(script) as target:
        said = node(proxy, company, target.authority, "wait")
    assert said.endswith(",10]"), "CONNECT_ERROR"


@pytest.mark.peer("node")
@pytest.mark.parametrize("what", ["rst", "kill"])
def test_node_that_leaves(proxy: Proxy, company: Certificates, what: str) -> None:
    """node sends END_STREAM before the RST_STREAM that a page asks for: the target sees an end, unless both arrive at once."""
    sink = Sink()
    with ScriptedServer(sink) as target:
        node(proxy, company, target.authority, what)
        wait_until(lambda: sink.endings, what="the end at the target")
    assert sink.endings in ([["EOF"], ["reset"]] if what == "rst" else [["reset"]])


@pytest.mark.peer("node")
def test_node_is_refused(proxy: Proxy, company: Certificates) -> None:
    sock, port = refusing_port()
    with sock:
        assert node(proxy, company, f"127.0.0.1:{port}", "none").startswith("[502")
