"""Package managers of the system: apt, dnf, snap."""

import subprocess
from pathlib import Path

import pytest

from tests.peers.program import SCRIPT
from tests.peers.tools import NAME, SECONDS, Route, env, in_own_mounts, printed, ran

pytestmark = pytest.mark.once
Web = tuple[Path, int]


@pytest.mark.peer("apt-get")
def test_apt(route: Route, home: Path, web: Web) -> None:
    root, port = web
    for part in ("dists/x/main/binary-amd64", "dists/x/main/binary-arm64"):
        (root / part).mkdir(parents=True)
        (root / part / "Packages").write_text("")
    (root / "dists/x/Release").write_text("Suite: x\nComponents: main\nArchitectures: amd64 arm64\n")
    file = home / "80proxy"
    file.write_text(printed(home, "apt", route.port))
    state = home / "apt"
    (state / "lists/partial").mkdir(parents=True)
    (state / "sources").write_text(f"deb [trusted=yes] http://{NAME}:{port} x main\n")
    words = [f"Dir::State={state}", f"Dir::Etc::sourcelist={state}/sources", "Dir::Etc::sourceparts=-", f"Dir::Cache={state}"]
    options = [
        word
        for text in [*words, f"Dir::State::lists={state}/lists", "APT::Sandbox::User=", "Debug::NoLocking=1"]
        for word in ("-o", text)
    ]
    done = ran(home, "apt-get", "-c", str(file), *options, "update")
    assert route.went_to(port), done.stderr + done.stdout
    assert done.returncode == 0, done.stderr
    shown = ran(home, "apt-config", "-c", str(file), "dump").stdout
    assert f'Acquire::http::Proxy "http://127.0.0.1:{route.port}";' in shown


@pytest.mark.peer("dnf")
def test_dnf(route: Route, home: Path, web: Web) -> None:
    _, port = web
    file = home / "dnf.conf"
    file.write_text(printed(home, "dnf", route.port))
    root = ["-c", str(file), "--installroot", str(home / "root"), f"--setopt=cachedir={home}/cache", "--setopt=retries=1"]
    ran(home, "dnf", *root, f"--repofrompath=own,http://{NAME}:{port}/", "--repo=own", "--releasever=1", "makecache")
    assert route.went_to(port)


# snapd runs on an empty state, and asks our website in place of its store. It does so as soon as it runs, before it knows of the
# proxy: so the name has an address here, and what shows that it obeys is the access log.
SNAPD = """
mount -t tmpfs none /run
mount -t tmpfs none /var/lib/snapd
mount -t tmpfs none /var/cache
mkdir -p /var/lib/snapd/void /var/cache/snapd
echo "127.0.0.1 $1" >/run/hosts
mount --bind /run/hosts /etc/hosts
echo 'nameserver 127.0.0.1' >/run/resolv.conf
mount --bind /run/resolv.conf /etc/resolv.conf
SNAPPY_FORCE_API_URL=http://$1:$2/ /usr/lib/snapd/snapd &
trap 'kill $!; wait $!' EXIT
until [ -S /run/snapd.socket ]; do sleep 0.02; done
sudo() { "$@"; }
"$3" setup snap -D "$4" --check || :
eval "$("$3" setup snap -D "$4")"
"$3" setup snap -D "$4" --check
snap find parcel
"""


@pytest.mark.peer("snap")
def test_snap(route: Route, home: Path, web: Web) -> None:
    _, port = web
    command = in_own_mounts(SNAPD, NAME, str(port), SCRIPT, str(route.port))
    done = subprocess.run(command, capture_output=True, text=True, env=env(home), timeout=SECONDS)
    assert "snap: its settings: lacks proxy.http, proxy.https\n" in done.stdout, done.stdout + done.stderr
    assert "snap: it has these settings\n" in done.stdout, done.stdout + done.stderr
    assert f"http://{NAME}:{port}/v2/snaps/find" in done.stderr, "what its store answered"
    assert route.went_to(port)
