"""The tools of other languages: cargo, go, java, maven, gradle."""

import json
import os
from pathlib import Path

import pytest

from tests.peers.https import make_certificate, web_server
from tests.peers.packages import make_go_module
from tests.peers.process import path_of
from tests.peers.tools import NAME, Route, install, ran

pytestmark = pytest.mark.once
Web = tuple[Path, int]


@pytest.mark.peer("cargo")
def test_cargo(route: Route, home: Path, web: Web) -> None:
    _, port = web
    file = install(home, "cargo", route.port, ".cargo", "config.toml")
    file.write_text(
        f'{file.read_text()}\n[source.crates-io]\nreplace-with = "own"\n[source.own]\nregistry = "http://{NAME}:{port}/repo.git"\n'
    )
    (home / "crate/src").mkdir(parents=True)
    (home / "crate/src/lib.rs").write_text("")
    (home / "crate/Cargo.toml").write_text('[package]\nname = "x"\nversion = "0.1.0"\n[dependencies]\nparcel = "1"\n')
    ran(
        home,
        "cargo",
        "generate-lockfile",
        cwd=home / "crate",
        CARGO_HOME=str(home / ".cargo"),
        RUSTUP_HOME=rustup(),
        CARGO_NET_RETRY="0",
    )
    assert route.went_to(port)


def rustup() -> str:
    """Where rustup keeps the toolchains, if cargo is one of its links."""
    return os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup"))


@pytest.mark.peer("keytool", "openssl")
def test_java(route: Route, home: Path, tmp_path: Path) -> None:
    """keytool(1) is a Java program, and connects by the class for URLs."""
    install(home, "java", route.port, ".profile")
    certificate = make_certificate(tmp_path)
    with web_server(tmp_path, certificate) as port:
        done = ran(home, "sh", "-c", f". ~/.profile; exec keytool -printcert -rfc -sslserver {NAME}:{port}")
        assert certificate[0].read_text().split()[2] in done.stdout, done.stdout + done.stderr
        assert route.went_to(port)


@pytest.mark.peer("mvn")
def test_maven(route: Route, home: Path, web: Web) -> None:
    _, port = web
    settings = install(home, "maven", route.port, ".m2", "settings.xml")
    (home / "pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><parent><groupId>g</groupId><artifactId>parent</artifactId>"
        "<version>1</version><relativePath/></parent><artifactId>a</artifactId><repositories><repository><id>own</id>"
        f"<url>http://{NAME}:{port}/</url></repository></repositories></project>"
    )
    # Maven 3.8 blocks http:// repositories by a mirror in its own settings; these global ones have none.
    (home / "global.xml").write_text("<settings/>")
    ran(home, "mvn", "-B", "-q", "-s", str(settings), "-gs", str(home / "global.xml"), f"-Duser.home={home}", "validate")
    assert route.went_to(port)


@pytest.mark.peer("go")
def test_go(route: Route, home: Path, web: Web) -> None:
    root, port = web
    make_go_module(root)
    install(home, "go", route.port, ".profile")
    own = {
        "GOPROXY": f"http://{NAME}:{port}",
        "GONOSUMDB": "*",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOPATH": f"{home}/go",
    }
    (home / "go.mod").write_text("module project\n")
    go = '. ~/.profile; exec "$0" mod download -json parcel.test/parcel@v1.0.0'
    done = ran(home, "sh", "-c", go, path_of("go"), **own)
    assert json.loads(done.stdout).get("Zip"), done.stdout + done.stderr
    assert route.went_to(port)


@pytest.mark.peer("gradle")
def test_gradle(route: Route, home: Path, web: Web) -> None:
    root, port = web
    (root / "g/parcel/1").mkdir(parents=True)
    (root / "g/parcel/1/parcel-1.pom").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>g</groupId><artifactId>parcel</artifactId><version>1</version></project>"
    )
    (root / "g/parcel/1/parcel-1.jar").write_text("content")
    install(home, "gradle", route.port, ".gradle", "gradle.properties")
    (home / "build.gradle").write_text(
        f"repositories {{ maven {{ url 'http://{NAME}:{port}/' }} }}\n"
        "configurations { own }\ndependencies { own 'g:parcel:1' }\n"
        "task show { doLast { println configurations.own.singleFile.text } }\n"
    )
    done = ran(home, "gradle", "-q", "-g", f"{home}/.gradle", "--no-daemon", "show")
    assert done.stdout.strip() == "content", done.stdout + done.stderr
    assert route.went_to(port)
