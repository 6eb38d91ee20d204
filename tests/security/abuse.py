"""Abusers of HTTP/2 at the real program, beside clients of both versions whose tunnels must go on meanwhile."""

import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.peers.http2 import PREFACE, Flag, Frame, Kind, frame, header_block, settings_frame, split
from tests.peers.http2_client import Http2Client
from tests.peers.process import resident, wait_until
from tests.peers.program import Serve
from tests.peers.proxies import Proxy as At
from tests.peers.scripted import RESET, ScriptedServer, echo
from tests.server.harness import SECONDS, Client

CALM, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, REFUSED_STREAM, COMPRESSION_ERROR = 11, 1, 3, 5, 7, 9

LATENCY = 3.0  # seconds for one octet and back beside any abuse: far above what a busy machine takes, far below a stall
GROWTH = 48 << 20  # octets by which the memory of the proxy may grow
TUNNELS = 300  # --max-tunnels: all places must be free afterwards


def request(target: str, stream: int, flags: int = Flag.END_HEADERS) -> bytes:
    """A HEADERS frame with a CONNECT request."""
    return frame(Kind.HEADERS, stream, header_block([(":method", "CONNECT"), (":authority", target)]), flags)


class Abuser:
    """A connection that sends anything. What the proxy sends is read only inside its methods, and not at all unless `reads`.

    earlier: the connections that the log had before it, of which one may have had the same port
    """

    def __init__(self, port: int, *settings: tuple[int, int], reads: bool = True, earlier: frozenset[str] = frozenset()) -> None:
        self.earlier = earlier
        self.reads, self.frames = reads, list[Frame]()
        self.lost = False
        self._partial = bytearray()
        self.sock = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.sock.setblocking(False)
        self.name = "{}:{}".format(*self.sock.getsockname())
        self.send(PREFACE + settings_frame(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> bool:
        """Sends all of it; False once the proxy has ended the connection, or takes nothing for some seconds."""
        view = memoryview(data)
        while view and not self.lost:
            if not self._wait(select.POLLOUT | (select.POLLIN if self.reads else 0), 2.0 if not self.reads else SECONDS):
                return False
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                pass
            except OSError:
                self._drop()
            if self.reads:
                self._read()
        return not self.lost

    def flood(self, data: bytes, times: int) -> int:
        """Sends it as often, unless the proxy ends the connection before; returns the code of the GOAWAY that it must send."""
        for _ in range(times):
            if not self.send(data):
                break
        return self.code()

    def code(self) -> int:
        """Reads to the end of the connection; returns the code of its GOAWAY."""
        self.read_to_end()
        found = [int.from_bytes(one.payload[4:8]) for one in self.frames if one.kind == Kind.GOAWAY]
        assert found, f"no GOAWAY: {self.frames[-5:]}"
        return found[-1]

    def read_to_end(self) -> None:
        while not self.lost:
            assert self._wait(select.POLLIN, SECONDS), f"the connection did not end: {self.frames[-5:]}"
            self._read()

    def wait_for(self, kind: int, stream: int = 0) -> Frame:
        """Reads until such a frame has come; returns it."""
        while not (found := [one for one in self.frames if (one.kind, one.stream) == (kind, stream)]):
            assert not self.lost, f"the connection has ended: {self.frames[-5:]}"
            assert self._wait(select.POLLIN, SECONDS), f"no {kind!r} on {stream}: {self.frames[-5:]}"
            self._read()
        return found[0]

    def pause(self, seconds: float) -> None:
        """Sends nothing for that time, unless something comes."""
        self._wait(select.POLLIN, seconds)
        self._read()

    def resets(self) -> list[tuple[int, int]]:
        """The streams that the proxy has reset, with the codes."""
        return [(one.stream, int.from_bytes(one.payload)) for one in self.frames if one.kind == Kind.RST_STREAM]

    def serves(self) -> bool:
        """Whether the proxy answers a PING."""
        self.send(frame(Kind.PING, payload=b"hello..!"))
        return self.wait_for(Kind.PING).payload == b"hello..!"

    def abort(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    def _wait(self, events: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.sock, events)
        return bool(poll.poll(seconds * 1000))

    def _read(self) -> None:
        try:
            while data := self.sock.recv(1 << 18):
                self._partial += data
                self.frames += split(self._partial)
            self.lost = True
        except BlockingIOError:
            pass
        except OSError:
            self.lost = True

    def _drop(self) -> None:
        """Takes what came before the end of the connection."""
        self._read()
        self.lost = True


class Bystander(threading.Thread):
    """Another client, whose tunnel carries single octets all the time. `worst`: the longest wait for one, in seconds"""

    def __init__(self, port: int, target: str, http: str) -> None:
        super().__init__(daemon=True)
        self._port, self._target, self._http = port, target, http
        self._ending = threading.Event()
        self.started, self.worst, self.failure = threading.Event(), 0.0, ""

    def run(self) -> None:
        try:
            if self._http == "HTTP/2":
                with Http2Client(At(self._port)) as connection:
                    stream = connection.tunnel(self._target)
                    self._go_on(stream.send, lambda: stream.read_exactly(1))
                    stream.end()
                    stream.read_to_end()
            else:
                with Client(("127.0.0.1", self._port)) as client:
                    client.tunnel(self._target)
                    self._go_on(client.send, lambda: client.exactly(1))
        except (OSError, AssertionError) as failure:
            self.failure = repr(failure)
        finally:
            self.started.set()

    def _go_on(self, send: Any, receive: Any) -> None:
        while not self._ending.is_set():
            begun = time.monotonic()
            send(b"k")
            receive()
            self.worst = max(self.worst, time.monotonic() - begun)
            self.started.set()
            self._ending.wait(0.02)

    def end(self) -> None:
        self._ending.set()
        self.join(SECONDS)
        assert not self.is_alive()
        assert not self.failure, f"over {self._http}: {self.failure}"
        assert self.worst < LATENCY, f"over {self._http}: an octet took {self.worst:.1f} s"


class Attacked:
    """A proxy, a target that echoes, and two other clients."""

    def __init__(self, serve: Serve, target: ScriptedServer, log: Path) -> None:
        self.serve, self.target, self._log = serve, target, log
        self.port, self.pid = serve.port, serve.process.pid

    def abuser(self, *settings: tuple[int, int], reads: bool = True) -> Abuser:
        return Abuser(self.port, *settings, reads=reads, earlier=frozenset(record["connection"] for record in self.records()))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().rpartition("\n")[0].splitlines()]

    def records_of(self, abuser: Abuser) -> list[dict[str, Any]]:
        found = [record for record in self.records() if record["client"] == abuser.name]
        return [record for record in found if record["connection"] not in abuser.earlier]

    def decisions(self, abuser: Abuser) -> list[int]:
        """The statuses in the records of its requests, and of the connection itself."""
        return [record["status"] for record in self.records_of(abuser) if record["event"] != "closed"]

    def wait_for_decision(self, abuser: Abuser, status: int) -> None:
        wait_until(lambda: status in self.decisions(abuser), SECONDS, f"a record with {status}")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """While the body runs, the others must be served. Afterwards nothing may be left of it."""
        others = [Bystander(self.port, self.target.authority, http) for http in ("HTTP/1.1", "HTTP/2")]
        for other in others:
            other.start()
        try:
            assert all(other.started.wait(SECONDS) for other in others)
            descriptors, memory = self.descriptors(), resident(self.pid)
            yield
            assert resident(self.pid) - memory < GROWTH
            wait_until(lambda: self.descriptors() <= descriptors, SECONDS, "the closing of all descriptors")
        finally:
            for other in others:
                other.end()
        wait_until(self._all_places_are_free, SECONDS, "the return of all places")

    def _all_places_are_free(self) -> bool:
        """Every record of a tunnel that was opened has one of its end."""
        found = self.records()
        opened = {record["tunnel"] for record in found if record["event"] == "opened"}
        return opened == {record["tunnel"] for record in found if record["event"] == "closed"}

    def grants(self, count: int) -> bool:
        """Whether so many tunnels are granted at once, and not one more."""
        connections = [Http2Client(At(self.port)) for _ in range(count // 100 + 1)]
        try:
            streams = [connections[number % len(connections)].connect(self.target.authority) for number in range(count + 1)]
            statuses = [stream.connection.response(stream) for stream in streams]  # type: ignore[attr-defined]
            return statuses.count("200") == count and statuses.count("503") == 1
        finally:
            for connection in connections:
                connection.close()


@contextmanager
def attacked(directory: Path, *flags: str) -> Iterator[Attacked]:
    """Runs the proxy and the target. In the end, the proxy must have all its places, and no fault."""
    log = directory / "access.log"
    given = ("--access-log", str(log), "--max-tunnels", str(TUNNELS), *flags)
    with ScriptedServer(echo) as target, Serve(*given) as serve:
        scene = Attacked(serve, target, log)
        yield scene
        wait_until(lambda: scene.grants(TUNNELS), SECONDS, "all places")
    assert "fault" not in serve.log()
