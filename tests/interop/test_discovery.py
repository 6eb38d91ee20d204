"""The readers of settings agree with the programs that the settings are for: each program reads the same text, and tells or shows
what it has understood."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.check.findings import tls_server
from tests.peers import certificates, tls_proxies
from tests.peers.process import path_of
from tests.peers.program import Serve, environment
from tests.peers.scripted import Conversation, ScriptedServer
from tests.peers.tree import in_tree
from tunnelctl.client.discovery.candidates import candidates
from tunnelctl.client.discovery.readers.desktop import read_gsettings, read_keyfile
from tunnelctl.client.discovery.readers.downloads import read_curl, read_wget
from tunnelctl.client.discovery.readers.git import read_git, variables
from tunnelctl.client.discovery.readers.packages import apt_items, read_apt, read_npm, read_pip
from tunnelctl.client.discovery.readers.proxy_command import settings_of_command
from tunnelctl.client.discovery.readers.ssh import read_ssh
from tunnelctl.client.discovery.settings.gather import gather
from tunnelctl.client.discovery.settings.machine import Machine
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, Found, Setting

SECONDS = 30.0


def tell(home: Path, *words: str, **env: str) -> str:
    """Runs a program whose settings are in that home directory, and returns its output, or else its errors."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "LC_ALL": "C", **env}
    done = subprocess.run([path_of(words[0]), *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=SECONDS)
    return (done.stdout or done.stderr).decode(errors="surrogateescape")


def urls(settings: list[Setting], key: str = "") -> list[str]:
    """The proxies that are named, as URLs."""
    found = [Found("tool", "", setting) for setting in settings if not key or setting.key == key]
    return [",".join(map(str, candidate.chain)) for candidate in candidates(found)[0]]


# --- proxies


@pytest.mark.peer("mitmdump")
def test_mitmproxy_is_noticed(tmp_path: Path) -> None:
    """Of two proxies, one that intercepts TLS and one that does not."""
    files = certificates.make(tmp_path)
    with tls_proxies.mitmproxy(tmp_path) as url, Serve() as honest, tls_server(files.server) as target:
        env = environment({"HOME": "/home/u", "https_proxy": url, "ALL_PROXY": honest.url})
        words = [*in_tree(tmp_path / "empty"), "check", "--json", "--tls", "--target", target.authority]
        done = subprocess.run(words, capture_output=True, env=env, timeout=SECONDS)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    seen = {tuple(event["proxy"]): (event["tls"], event["issuer"]) for event in told if event["event"] == "proxy"}
    assert (seen[url,], seen[honest.url,][0]) == (("intercepted", "mitmproxy"), "untouched")
    assert "intercepted" in [event["name"] for event in told if event["event"] == "finding"]


# --- git

GIT = [
    "[http]\n\tproxy = http://p:1\n",
    '[http "https://x.example/a b"]\nproxy=http://p:1 # comment\n[http]\nproxy = "http://a:b#;c@p:2";x\n',
    '[HTTP]PROXY=p\n[remote "O.x"]proxy = q ; c\n',
    '[core]\nsshCommand = "ssh -o \\"ProxyCommand=nc -X connect -x p:1 %h %p\\""\ngitproxy = none for x\n',
    "[http]\nproxy = http://p\\\n:1\nsslVerify\n; proxy = no\n",
    '[http "a\\"b\\\\c"]\nproxy = "a  b"  c   d  \n[http]\n\n\tproxy =\n',
    "[http]\r\nproxy = http://p:1\r\n",
]


@pytest.mark.peer("git")
@pytest.mark.parametrize("text", GIT)
def test_git_reads_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(text.encode())
    told = tell(tmp_path, "git", "config", "--file", str(tmp_path / "config"), "--list", "-z")
    theirs = [(name, value) for name, _, value in (item.partition("\n") for item in told.split("\0") if item)]
    assert [(variable.name, variable.value) for variable in variables(text)] == theirs
    assert theirs


@pytest.mark.peer("git")
def test_git_goes_to_the_proxy_that_is_found(tmp_path: Path) -> None:
    """Also without a port: git takes 1080, which only its words show."""

    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    with ScriptedServer(refuse) as proxy:
        text = f"[http]\nproxy = {proxy.authority}\n"
        (tmp_path / ".gitconfig").write_text(text)
        tell(tmp_path, "git", "ls-remote", "https://example.test/x", GIT_CONFIG_NOSYSTEM="1")
        assert urls(read_git(text)) == [proxy.url]
        assert proxy.heads[0].startswith(b"CONNECT example.test:443 ")
    text = "[http]\nproxy = http://127.0.0.1\n"
    (tmp_path / ".gitconfig").write_text(text)
    assert urls(read_git(text)) == ["http://127.0.0.1:1080"]
    told = tell(tmp_path, "git", "ls-remote", "https://example.test/x", GIT_CONFIG_NOSYSTEM="1")
    assert "127.0.0.1 port 1080" in told


@pytest.mark.peer("git")
def test_git_ignores_https_proxy(tmp_path: Path) -> None:
    """So a finding says: example.test cannot be resolved, and the proxy is not asked."""
    with ScriptedServer(lambda peer: None) as proxy:
        (tmp_path / ".gitconfig").write_text(f"[https]\nproxy = {proxy.url}\n")
        tell(tmp_path, "git", "ls-remote", "https://example.test/x", GIT_CONFIG_NOSYSTEM="1")
        assert proxy.conversations == []


# --- ssh

SSH = """Host a.example
  ProxyCommand nc -X connect -x a:1 %h %p
Host *.b.example "c.example"
  proxycommand=corkscrew b 2 %h %p
Match host d.example
  ProxyCommand = "/usr/bin/ncat" --proxy d:4 --proxy-auth "u:x%%y" %h %p
Host *
  ProxyCommand sh -c "exec nc -x e:5 %h %p"
"""


@pytest.mark.peer("ssh")
@pytest.mark.parametrize(
    ("host", "place"), [("a.example", 0), ("x.b.example", 1), ("c.example", 1), ("d.example", 2), ("other.example", 3)]
)
def test_ssh_reads_the_same(host: str, place: int, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(SSH)
    told = tell(tmp_path, "ssh", "-G", "-F", str(tmp_path / "config"), host)
    command = next(line.partition(" ")[2] for line in told.splitlines() if line.startswith("proxycommand "))
    ours = read_ssh(SSH)[place]
    # ssh -G does not expand the tokens of the command.
    assert settings_of_command("", command.replace("%%", "%"))[0].value == ours.value
    assert ours.kind == PROXY


COMMANDS = [
    ("corkscrew", "corkscrew HOST PORT h 22"),
    ("nc.openbsd", "nc.openbsd -X connect -x HOST:PORT h 22"),
    ("nc.openbsd", "nc.openbsd -Xconnect -xHOST:PORT h 22"),
    ("ncat", "ncat --proxy HOST:PORT --proxy-type http h 22"),
    ("ncat", "ncat --proxy=HOST:PORT --proxy-auth alice:swordfish h 22"),
    ("connect-proxy", "connect-proxy -H HOST:PORT h 22"),
    ("proxytunnel", "proxytunnel -q -p HOST:PORT -d h:22"),
    ("proxytunnel", "proxytunnel -q --proxy=HOST:PORT --proxyauth=alice:swordfish --dest=h:22"),
    ("socat", "socat - PROXY:HOST:h:22,proxyport=PORT"),
    ("socat", "socat - proxy-connect:HOST:h:22,proxyauth=alice:swordfish,proxyport=PORT"),
]


@pytest.mark.parametrize(("program", "line"), [pytest.param(*row, id=row[1], marks=pytest.mark.peer(row[0])) for row in COMMANDS])
def test_a_proxy_command_goes_to_the_proxy_that_is_found(program: str, line: str, tmp_path: Path) -> None:
    def grant(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.end_output()

    with ScriptedServer(grant) as proxy:
        line = line.replace("HOST", proxy.host).replace("PORT", str(proxy.port))
        tell(tmp_path, *shlex.split(line))
        assert proxy.heads[0].startswith(b"CONNECT h:22 HTTP/1.")
        (setting,) = settings_of_command("ProxyCommand", line)
    login = "alice" in line  # which ncat sends only if it is asked for
    assert setting.value == (proxy.url.replace("//", "//alice:swordfish@" if login else "//"),)


# --- curl and wget


def page(peer: Conversation) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    peer.end_output()


CURL = [
    "proxy = URL",
    'proxy="URL"',
    "proxy: URL",
    "proxy URL",
    "-x URL",
    "-xURL",
    "--proxy URL\n# proxy = http://127.0.0.1:9",
    'proxy = URL\nproxy-user = "alice:swordfish"',
    'proxy = "HOST:PORT"\nuser-agent = "x\\"y"',
    "  proxy   =   URL   ",
    "proxy = URL # comment",
    "proxy1.0 = HOST:PORT",
]


@pytest.mark.peer("curl")
@pytest.mark.parametrize("text", CURL)
def test_curl_goes_to_the_proxy_that_is_found(text: str, tmp_path: Path) -> None:
    with ScriptedServer(page) as proxy:
        text = text.replace("URL", proxy.url).replace("HOST", proxy.host).replace("PORT", str(proxy.port)) + "\n"
        (tmp_path / ".curlrc").write_text(text)
        told = tell(tmp_path, "curl", "-s", "http://example.test/", CURL_HOME=str(tmp_path))
        assert proxy.heads, told
    login = b"YWxpY2U6c3dvcmRmaXNo" in proxy.heads[0]
    assert [setting.value[0] for setting in read_curl(text)] in (
        [[proxy.url], [proxy.authority]] if not login else [[proxy.url.replace("//", "//alice:swordfish@")]]
    )


@pytest.mark.peer("curl")
@pytest.mark.parametrize("text", ["x = URL", "--proxy=URL", "-proxy URL"])
def test_curl_ignores_the_same(text: str, tmp_path: Path) -> None:
    with ScriptedServer(page) as proxy:
        text = text.replace("URL", proxy.url) + "\n"
        (tmp_path / ".curlrc").write_text(text)
        tell(tmp_path, "curl", "-s", "http://example.test/", CURL_HOME=str(tmp_path))
        assert (proxy.heads, read_curl(text)) == ([], [])


WGET = [
    "http_proxy = URL",
    "HTTP-Proxy=URL",
    "httpproxy = URL",
    "# http_proxy = x\nhttp_proxy=URL\nproxy_user=alice\nproxy_password=swordfish",
]


@pytest.mark.peer("wget")
@pytest.mark.parametrize("text", WGET)
def test_wget_goes_to_the_proxy_that_is_found(text: str, tmp_path: Path) -> None:
    with ScriptedServer(page) as proxy:
        text = text.replace("URL", proxy.url) + "\n"
        (tmp_path / ".wgetrc").write_text(text)
        told = tell(tmp_path, "wget", "-q", "-t1", "-O-", "http://example.test/", WGETRC=str(tmp_path / ".wgetrc"))
        assert proxy.heads, told
    login = b"YWxpY2U6c3dvcmRmaXNo" in proxy.heads[0]
    assert [setting.value for setting in read_wget(text)] == [(proxy.url.replace("//", "//alice:swordfish@" if login else "//"),)]


@pytest.mark.peer("wget")
def test_wget_without_proxies(tmp_path: Path) -> None:
    with ScriptedServer(page) as proxy:
        text = f"http_proxy={proxy.url}\nuse_proxy=off\n"
        (tmp_path / ".wgetrc").write_text(text)
        tell(tmp_path, "wget", "-q", "-t1", "-O-", "http://example.test/", WGETRC=str(tmp_path / ".wgetrc"))
        assert (proxy.heads, read_wget(text)) == ([], [])


# --- package managers

APT = [
    'Acquire::http::Proxy "http://p:1/";\n// Acquire::https::Proxy "no";\n',
    'acquire { https { proxy "http://p:2"; }; http::Proxy::deb.example "DIRECT"; Retries "3"; };\n',
    'Acquire\n{\n  http { Proxy "http://p:1"; # c\n  Proxy { deb.example "http://q:1"; }; };\n /* } */\n};\n',
    'Acquire::http::Proxy http://p:1;\n;\nAcquire::https::Proxy "http://q:1";\nAcquire::ftp::Proxy p:1;\n',
    'Acquire::http::Pipeline-Depth "0";\nAcquire::https::Proxy::x.example "http://p:1";Acquire::http::Timeout "1";\n',
]


@pytest.mark.peer("apt-config")
@pytest.mark.parametrize("text", APT)
def test_apt_reads_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(text)
    (tmp_path / "empty").mkdir()
    (tmp_path / "only").write_text(f'Dir::Etc::parts "{tmp_path}/empty";\nDir::Etc::main "{tmp_path}/conf";\n')
    told = tell(tmp_path, "apt-config", "dump", APT_CONFIG=str(tmp_path / "only"))
    theirs = {(name.lower(), value) for name, value in re.findall(r'^(\S*[Pp]roxy\S*) "(.+)";$', told, re.MULTILINE)}
    ours = {(name.lower(), value) for _, name, value in apt_items(text) if "proxy" in name.lower()}
    assert ours == theirs != set()
    named = {(setting.key.lower(), setting.value[0]) for setting in read_apt(text)}
    assert named == {item for item in theirs if item[1] != "DIRECT"}


@pytest.mark.peer("apt-config")
def test_apt_reads_the_files_of_the_same_names(tmp_path: Path) -> None:
    parts = tmp_path / "etc/apt/apt.conf.d"
    parts.mkdir(parents=True)
    for number, name in enumerate(("10proxy", "a.conf", "b_c-d", "e.bak", "f.conf~", "g.dpkg-old", "h.conf.x", ".i")):
        (parts / name).write_text(f'Acquire::http::Proxy::x{number} "http://p:{number + 1}";\n')
    (tmp_path / "only").write_text(f'Dir::Etc::parts "{parts}";\nDir::Etc::main "/none";\n')
    told = tell(tmp_path, "apt-config", "dump", APT_CONFIG=str(tmp_path / "only"))
    theirs = re.findall(r'^Acquire::http::Proxy::\S+ "(.+)";$', told, re.MULTILINE)
    found = gather(Machine({}, "/home/u", str(tmp_path))).found
    assert [one.setting.value[0] for one in found] == theirs
    assert len(theirs) == 3


@pytest.mark.peer("npm")
def test_npm_reads_the_same(tmp_path: Path) -> None:
    text = '; c\nproxy=http://p:1/\nhttps-proxy = "http://a:b@p:2/"\nnoproxy=a,b\n[x]\nproxy=http://q:1/\n'
    (tmp_path / ".npmrc").write_text(text)
    ours = {setting.key: setting.value[0] for setting in read_npm(text)}
    # `npm config get` does not show a value with a password.
    assert tell(tmp_path, "npm", "config", "get", "proxy").strip() == ours["proxy"] == "http://p:1/"
    assert tell(tmp_path, "npm", "config", "get", "noproxy").strip() == ours["noproxy"] == "a,b"
    assert ours["https-proxy"] == "http://a:b@p:2/"


@pytest.mark.parametrize(
    "text",
    [
        "[global]\nproxy = http://p:1\n",
        "[global]\n# c\nproxy=a:b@p:1\ntimeout=1\n[install]\nPROXY = http://q:2\n",
        "[list]\nproxy: x\n",
    ],
)
def test_pip_reads_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(text)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    words = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(words, capture_output=True, env=env, timeout=SECONDS, text=True).stdout
    theirs = dict(re.findall(r"^(\S+\.proxy)='(.*)'$", told, re.MULTILINE))
    assert {setting.key: setting.value[0] for setting in read_pip(text)} == theirs


# --- GNOME

SCHEMA = """<schemalist><schema id="org.gnome.system.proxy" path="/system/proxy/">
<key name="mode" type="s"><default>'none'</default></key>
<key name="autoconfig-url" type="s"><default>''</default></key>
<key name="ignore-hosts" type="as"><default>['localhost']</default></key>
<child name="http" schema="org.gnome.system.proxy.http"/></schema>
<schema id="org.gnome.system.proxy.http" path="/system/proxy/http/">
<key name="host" type="s"><default>''</default></key><key name="port" type="i"><default>8080</default></key>
<key name="use-authentication" type="b"><default>false</default></key>
<key name="authentication-user" type="s"><default>''</default></key>
<key name="authentication-password" type="s"><default>''</default></key></schema></schemalist>
"""


@pytest.mark.peer("gsettings", "glib-compile-schemas")
def test_gsettings_and_its_keyfile_say_the_same(tmp_path: Path) -> None:
    """With the part of GNOME's schema that matters here, which need not be installed."""
    (tmp_path / "x.gschema.xml").write_text(SCHEMA)
    tell(tmp_path, "glib-compile-schemas", str(tmp_path))
    env = {"GSETTINGS_BACKEND": "keyfile", "GSETTINGS_SCHEMA_DIR": str(tmp_path)}
    name = "org.gnome.system.proxy"
    values = {
        (name, "mode"): "'manual'",
        (name, "ignore-hosts"): "['a', \"it's\"]",
        (f"{name}.http", "host"): "'proxy.example'",
        (f"{name}.http", "port"): "3128",
        (f"{name}.http", "use-authentication"): "true",
        (f"{name}.http", "authentication-user"): "'o\\'neill'",
        (f"{name}.http", "authentication-password"): "'sword@fish'",
    }
    for (schema, key), value in values.items():
        assert tell(tmp_path, "gsettings", "set", schema, key, value, **env) == ""
    told = read_gsettings(tell(tmp_path, "gsettings", "list-recursively", name, **env))
    kept = read_keyfile((tmp_path / ".config/glib-2.0/settings/keyfile").read_text())
    assert [(setting.kind, setting.value) for setting in told] == [(setting.kind, setting.value) for setting in kept]
    assert [(setting.kind, setting.value[0]) for setting in told] == [
        (PROXY, "http://o%27neill:sword%40fish@proxy.example:3128"),
        (EXEMPT, "a,it's"),
    ]
