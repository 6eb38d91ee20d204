"""The manifests of deploy/kubernetes: valid, consistent, and their container runs as they say.

There is no cluster here. The container is imitated: its arguments, user, rights and mounts are those of the manifest, in namespaces
of its own, with `serve` as process 1, a root that is read-only, and no rights at all.
"""

import base64
import ctypes
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.peers.kubelet import mount
from tests.peers.process import path_of, wait_until
from tests.peers.program import SCRIPT, environment, started
from tests.peers.scripted import ScriptedServer, echo
from tests.peers.tools import in_own_mounts
from tests.server.harness import SECONDS, Client, basic, connect_request
from tunnelctl import __version__

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "kubernetes.md"
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
OLDEST = "1.30.0"  # the first that has the action `sleep` without a feature gate

pytestmark = [pytest.mark.peer("kubectl", "kubernetes-validate"), pytest.mark.artefact]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `kubectl apply -k` applies with the balancer, after the commands of the page in a checkout."""
    checkout = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "deploy" / "kubernetes", checkout / "deploy" / "kubernetes", ignore=lambda *_: ["users"])
    settings = checkout / "deploy/kubernetes/kustomization.yaml"
    settings.write_text(settings.read_text().replace("# - balancer.yaml", "- balancer.yaml"))
    path = {"PATH": f"{Path(SCRIPT).parent}:{os.environ['PATH']}"}
    words = [path_of("bash"), "-euo", "pipefail", "-c", COMMANDS]
    done = subprocess.run(words, input="pw\n", text=True, capture_output=True, timeout=60, cwd=checkout, env=environment(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("allowed: "), done.stdout
    return subprocess.run(
        [path_of("kubectl"), "kustomize", "deploy/kubernetes"], cwd=checkout, capture_output=True, check=True, timeout=60, text=True
    ).stdout


@pytest.fixture(scope="module")
def manifests(rendered: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Each by its kind and name."""
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(rendered)}


Manifests = dict[tuple[str, str], dict[str, Any]]


def pod(manifests: Manifests) -> dict[str, Any]:
    return manifests["Deployment", "tunnelctl"]["spec"]["template"]  # type: ignore[no-any-return]


def container(manifests: Manifests) -> dict[str, Any]:
    (only,) = pod(manifests)["spec"]["containers"]
    return only  # type: ignore[no-any-return]


def flag(manifests: Manifests, name: str) -> str:
    (value,) = [word.partition("=")[2] for word in container(manifests)["args"] if word.startswith(f"--{name}=")]
    return value  # type: ignore[no-any-return]


# -- what they say ---------------------------------------------------------------------------------------------------------------


def validated(text: str, *flags: str) -> int:
    command = [path_of("kubernetes-validate"), "--strict", *flags, "/dev/stdin"]
    return subprocess.run(command, input=text, text=True, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize("flags", [("-k", OLDEST), ()], ids=["oldest", "newest"])
def test_the_manifests_are_valid(rendered: str, flags: tuple[str, ...]) -> None:
    assert validated(rendered, *flags) == 0
    assert validated(rendered.replace("externalTrafficPolicy", "externalTraffic"), *flags) != 0, "the check can fail"


def test_the_image_has_the_version_of_the_program(manifests: Manifests) -> None:
    assert container(manifests)["image"] == f"tunnelctl:{__version__}"
    text = "".join(path.read_text() for path in (ROOT / "deploy" / "kubernetes").iterdir() if path.name != "users")
    assert text.count(__version__) == 1


def test_all_is_in_one_namespace(manifests: Manifests) -> None:
    assert ("Namespace", "tunnelctl") in manifests
    assert {one["metadata"].get("namespace") for (kind, _), one in manifests.items() if kind != "Namespace"} == {"tunnelctl"}


def test_every_selector_finds_the_pods(manifests: Manifests) -> None:
    labels = pod(manifests)["metadata"]["labels"]
    selectors = [one["spec"]["selector"] for (kind, _), one in manifests.items() if kind == "Service"]
    selectors += [manifests[kind, "tunnelctl"]["spec"]["selector"] for kind in ("Deployment", "PodDisruptionBudget")]
    selectors.append(manifests["NetworkPolicy", "tunnelctl"]["spec"]["podSelector"])
    selectors += [spread["labelSelector"] for spread in pod(manifests)["spec"]["topologySpreadConstraints"]]
    assert len(selectors) == 7
    for selector in selectors:
        wanted = selector.get("matchLabels", selector)
        assert wanted
        assert wanted.items() <= labels.items()


def test_every_port_exists(manifests: Manifests) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(manifests)["ports"]}
    assert ports == {name: int(flag(manifests, of).rpartition(":")[2]) for name, of in (("proxy", "listen"), ("admin", "admin"))}
    for kind, name in manifests:
        if kind == "Service":
            (port,) = manifests[kind, name]["spec"]["ports"]
            assert port["targetPort"] == "proxy", "the admin port is in no service"
    probes = [container(manifests)[f"{probe}Probe"]["httpGet"] for probe in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {"admin"}
    ingress = manifests["NetworkPolicy", "tunnelctl"]["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in ingress] == [["proxy"], ["admin"]]
    assert all(rule["from"] for rule in ingress), "an empty `from` is everybody"
    assert pod(manifests)["metadata"]["annotations"]["prometheus.io/port"] == str(ports["admin"])


def test_the_autoscaler_scales_the_deployment(manifests: Manifests) -> None:
    scaler = manifests["HorizontalPodAutoscaler", "tunnelctl"]["spec"]
    target = scaler["scaleTargetRef"]
    deployment = manifests[target["kind"], target["name"]]
    assert target["apiVersion"] == deployment["apiVersion"]
    assert "replicas" not in deployment["spec"], "each apply would reset them"
    assert container(manifests)["resources"]["requests"]["cpu"], "a share of the CPU is a share of this"
    assert scaler["minReplicas"] > manifests["PodDisruptionBudget", "tunnelctl"]["spec"]["maxUnavailable"]


def test_the_balancer_has_one_address_in_all_places(manifests: Manifests) -> None:
    network = flag(manifests, "proxy-protocol")
    sources = manifests["NetworkPolicy", "tunnelctl"]["spec"]["ingress"][0]["from"]
    assert [source["ipBlock"]["cidr"] for source in sources if "ipBlock" in source] == [network]
    assert f" {network} " in (ROOT / "deploy/kubernetes/balancer.yaml").read_text()
    assert manifests["Service", "tunnelctl-balanced"]["spec"]["externalTrafficPolicy"] == "Local"


def test_no_balancer_is_applied_unless_it_is_asked_for() -> None:
    """Most clouds would give it a public address."""
    assert "\n  # - balancer.yaml" in (ROOT / "deploy/kubernetes/kustomization.yaml").read_text()
    for file in (ROOT / "deploy/kubernetes").glob("*.yaml"):
        assert ("type: LoadBalancer" in file.read_text()) == (file.name == "balancer.yaml")


def test_the_pod_lives_as_long_as_its_drain(manifests: Manifests) -> None:
    spec = pod(manifests)["spec"]
    before = container(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= before + float(flag(manifests, "drain")) + 5


def test_every_mount_has_its_files(manifests: Manifests) -> None:
    volumes = {volume["name"]: volume for volume in pod(manifests)["spec"]["volumes"]}
    mounts = {one["mountPath"]: volumes.pop(one["name"]) for one in container(manifests)["volumeMounts"]}
    assert not volumes
    for path, volume in mounts.items():
        if "configMap" in volume:
            files = manifests["ConfigMap", volume["configMap"]["name"]]["data"]
            assert [f"{path}/{name}" for name in files] == [flag(manifests, "policy")]
        elif "secret" in volume:
            files = manifests["Secret", volume["secret"]["secretName"]]["data"]
            assert [f"{path}/{name}" for name in files] == [flag(manifests, "users")]
    assert not [one for one in container(manifests)["volumeMounts"] if "subPath" in one]


def test_the_pod_is_restricted(manifests: Manifests) -> None:
    """The profile `restricted` of the pod security standards, which the namespace enforces, and a read-only root."""
    spec, own = pod(manifests)["spec"], container(manifests)["securityContext"]
    assert manifests["Namespace", "tunnelctl"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert spec["automountServiceAccountToken"] is False


def test_prometheus_operator_finds_the_port(manifests: Manifests) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    monitor = yaml.safe_load(text)["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pod(manifests)["metadata"]["labels"].items()
    assert {one["port"] for one in monitor["podMetricsEndpoints"]} <= {port["name"] for port in container(manifests)["ports"]}


# -- what the container does -----------------------------------------------------------------------------------------------------

# The directory $1 becomes /run, once the interpreter, its packages and the checkout are bound there: the user of the container may
# not be able to reach them where they are. /tmp is the emptyDir.
_CONTAINER = """
mount -t tmpfs tmpfs "$1"
for pair in python="$2" packages="$3" checkout="$4" tunnelctl/policy="$5" tunnelctl/users="$6"; do
    mkdir -p "$1/${pair%%=*}"
    mount --bind "${pair#*=}" "$1/${pair%%=*}"
done
mount --no-mtab --move "$1" /run
mount -t tmpfs -o mode=0777 tmpfs /tmp
mount -o remount,bind,ro /
user=$7
shift 7
exec unshare --net --pid --fork --kill-child sh -euc '
    ip link set lo up
    ip address add 192.0.2.1/24 dev lo
    user=$1
    shift
    exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
' sh "$user" "$@"
"""


class Container:
    """A running `serve`, in its own network."""

    def __init__(self, process: "subprocess.Popen[bytes]", manifests: Manifests) -> None:
        self._process, self._container = process, manifests
        self.pid = 0
        self.said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.log: list[dict[str, Any]] = []
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=self._read_log, daemon=True).start()

    def _hear(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.put(line.decode())
        self.said.put("the end")

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(json.loads(line))

    def wait_for(self, text: str) -> None:
        """Waits until it says that; until then it must not warn."""
        while text not in (line := self.said.get(timeout=SECONDS)):
            assert re.match("tunnelctl: (?!warning)", line), line

    def wait_for_reload(self) -> None:
        """Waits until it has read both files again: the change of one makes it read both."""
        for what in ("policy", "users file"):
            self.wait_for(f"the {what} was read again: ")

    def begin(self) -> None:
        self.wait_for("listening on ")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        (self.pid,) = map(int, children.read_text().split())

    def inside(self, work: Callable[[], T]) -> T:
        """Does it in the network of the container. A socket stays in the network in which it was made."""
        done: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()

        def enter() -> None:
            try:
                with open(f"/proc/{self.pid}/ns/net") as network:
                    assert ctypes.CDLL(None, use_errno=True).setns(network.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
                done.put(work())
            except BaseException as error:
                done.put(error)

        threading.Thread(target=enter, daemon=True).start()
        result = done.get(timeout=SECONDS)
        if isinstance(result, BaseException):
            raise result
        return result

    def probe(self, name: str) -> int:
        """Returns what the kubelet gets for a probe."""
        asked = container(self._container)[f"{name}Probe"]["httpGet"]
        (port,) = [one["containerPort"] for one in container(self._container)["ports"] if one["name"] == asked["port"]]
        url = f"http://192.0.2.1:{port}{asked['path']}"
        return self.inside(lambda: httpx.get(url, timeout=SECONDS, trust_env=False).status_code)

    def client(self, source: str = "127.0.0.1") -> Client:
        return self.inside(lambda: Client(("127.0.0.1", 3128), source))

    def answer(self, target: str, login: str) -> int:
        with self.client() as client:
            client.send(connect_request(target, login))
            return int(client.head()[9:12])

    def fields(self, event: str) -> list[dict[str, Any]]:
        return [record for record in list(self.log) if record["event"] == event]


@contextmanager
def running(manifests: Manifests, tmp_path: Path) -> Iterator[Container]:
    """Runs the container, with the volumes `policy` and `users` of tmp_path."""
    (tmp_path / "run").mkdir()
    user = str(pod(manifests)["spec"]["securityContext"]["runAsUser"])
    interpreter = Path(os.path.realpath(sys.executable)).relative_to(os.path.realpath(sys.base_prefix))
    path = "PYTHONPATH=/run/checkout:/run/packages", "LD_LIBRARY_PATH=/run/python/lib"
    program = ["env", "-i", *path, "PYTHONWARNINGS=error", f"/run/python/{interpreter}", "-m", "tunnelctl"]
    code = sys.base_prefix, sysconfig.get_path("purelib"), ROOT
    words = [str(path) for path in (tmp_path / "run", *code, tmp_path / "policy", tmp_path / "users")]
    command = in_own_mounts(_CONTAINER, *words, user, *program)
    with started(*container(manifests)["args"], program=command) as process:
        one = Container(process, manifests)
        one.begin()
        try:
            yield one
        finally:
            with suppress(ProcessLookupError):  # process 1 of its namespace: with it, all of that ends
                os.kill(one.pid, signal.SIGKILL)


RULE = "[[allow]]\ntargets = ['127.0.0.1:*']\n"


@pytest.mark.linux("namespaces")
@pytest.mark.peer("unshare", "setpriv", "ip")
def test_the_container_runs_reloads_and_drains(manifests: Manifests, tmp_path: Path) -> None:
    policy = manifests["ConfigMap", "tunnelctl-policy"]["data"]
    users = manifests["Secret", "tunnelctl-users"]["data"]
    names = list(policy), list(users)
    assert names == (["policy.toml"], ["users"])
    alice = base64.b64decode(users["users"]).decode()
    mount(tmp_path / "policy", "1", **policy)
    mount(tmp_path / "users", "1", users=alice)
    login = basic("alice", "pw")
    with running(manifests, tmp_path) as serve:
        status = Path(f"/proc/{serve.pid}/status").read_text()
        assert re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE), "it is process 1"
        assert [serve.probe(name) for name in ("startup", "readiness", "liveness")] == [200, 200, 200]
        with serve.inside(lambda: ScriptedServer(echo)) as target:
            # The rules of the manifest: no internal address.
            assert serve.answer(target.authority, "X: no login") == 407
            assert serve.answer(target.authority, login) == 403

            # A new version of the ConfigMap, and one of the Secret.
            mount(tmp_path / "policy", "2", **{"policy.toml": RULE})
            serve.wait_for_reload()
            assert serve.answer(target.authority, login) == 200
            mount(tmp_path / "users", "2", users="")
            serve.wait_for_reload()
            assert serve.answer(target.authority, login) == 407
            mount(tmp_path / "users", "3", users=alice)
            serve.wait_for_reload()

            # A client that the load balancer names in its PROXY header is the client in the access log.
            with serve.client("192.0.2.1") as client:
                client.send(b"PROXY TCP4 198.51.100.7 192.0.2.1 51000 3128\r\n")
                client.tunnel(target.authority, login)
                wait_until(lambda: "198.51.100.7:51000" in [one["client"] for one in serve.fields("opened")], SECONDS, "the record")

            # While preStop sleeps, nothing has changed for it. Then it gets SIGTERM.
            with serve.client() as client:
                client.tunnel(target.authority, login)
                assert serve.probe("readiness") == 200
                os.kill(serve.pid, signal.SIGTERM)
                wait_until(lambda: serve.probe("readiness") == 503, SECONDS, "the drain")
                assert serve.probe("liveness") == 200
                with pytest.raises(ConnectionRefusedError):
                    serve.client()
                assert client.echoes()
            wait_until(lambda: not Path(f"/proc/{serve.pid}").exists(), SECONDS, "the end, with its last tunnel")
    assert {record["user"] for record in serve.fields("closed")} == {"alice"}
