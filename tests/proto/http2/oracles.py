"""Two other machines behind one interface: h2, and libnghttp2 through ngh2. Each says what it makes of every frame."""

from typing import NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import ngh2

from tests.proto.http2.wire import ACK, CONNECT, GOAWAY, PREFACE, RST_STREAM, SETTINGS, TARGET, Sent, frames, raw, settings
from tunnelctl.proto.http2 import events
from tunnelctl.proto.http2.frame import name_of
from tunnelctl.proto.http2.machine import MAX_FRAME, Machine
from tunnelctl.proto.http2.window import WindowBudget

REQUESTS = 4  # tunnels that a client has requested
STREAMS = 5  # that a server accepts at once
SETTINGS_OF_ALL = {3: STREAMS, 5: MAX_FRAME}
CONNECT_OCTETS = [(name.encode(), value.encode()) for name, value in CONNECT]


class Verdict(NamedTuple):
    """What one frame has led to. fault: "", or what was ended and with which code; seen: what the application is told"""

    fault: str
    seen: tuple[tuple, ...]


def fault_in(sent: list[Sent]) -> str:
    """Returns the first failure in what a machine sends."""
    for each in sent:
        if each.kind == GOAWAY:
            return f"connection {name_of(int.from_bytes(each.payload[4:8], 'big'))}"
    for each in sent:
        if each.kind == RST_STREAM:
            return f"stream {name_of(int.from_bytes(each.payload, 'big'))}"
    return ""


def status_in(headers) -> int:
    """Returns the status of a response; 0 if it has none, which h2 accepts because its validation is switched off here."""
    status = dict(headers).get(b":status", b"")
    return int(status) if status.isdigit() else 0


class Ours:
    def __init__(self, client: bool) -> None:
        self.machine = Machine(client, WindowBudget(0), 0.0, STREAMS)
        self.machine.receive((b"" if client else PREFACE) + settings() + raw(SETTINGS, 0, b"", ACK), 0.0)
        for _ in range(REQUESTS if client else 0):
            self.machine.request(TARGET, ())
        self.machine.output.clear()

    def feed(self, octets: bytes) -> Verdict:
        seen: list[tuple] = []
        for event in self.machine.receive(octets, 0.0):
            match event:
                case events.RequestReceived(stream, _):
                    seen.append(("request", stream))
                case events.ResponseReceived(stream, response):
                    seen.append(("response", stream, response.status))
                case events.DataReceived(stream, pieces):
                    seen.append(("data", stream, b"".join(pieces)))
                case events.EndReceived(stream):
                    seen.append(("end", stream))
                case events.ResetReceived(stream, code):
                    seen.append(("reset", stream, code))
        sent = frames(bytes(self.machine.output))
        self.machine.output.clear()
        return Verdict(fault_in(sent), tuple(sorted(seen, key=repr)))


class H2:
    def __init__(self, client: bool) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None, validate_inbound_headers=False)
        self.connection = h2.connection.H2Connection(config)
        self.connection.local_settings = h2.settings.Settings(
            client, {h2.settings.SettingCodes(number): value for number, value in SETTINGS_OF_ALL.items()}
        )
        self.connection.max_inbound_frame_size = MAX_FRAME
        self.connection.initiate_connection()
        self.connection.receive_data((b"" if client else PREFACE) + settings() + raw(SETTINGS, 0, b"", ACK))
        for number in range(1, 2 * REQUESTS if client else 0, 2):
            self.connection.send_headers(number, CONNECT_OCTETS)
        self.connection.data_to_send()

    def feed(self, octets: bytes) -> Verdict:
        found, code = [], None
        try:
            found = self.connection.receive_data(octets)
        except h2.exceptions.ProtocolError as error:
            code = error.error_code
        sent = frames(self.connection.data_to_send())
        seen: list[tuple] = []
        for event in found:
            match event:
                case h2.events.RequestReceived():
                    seen.append(("request", event.stream_id))
                case h2.events.ResponseReceived():
                    seen.append(("response", event.stream_id, status_in(event.headers)))
                case h2.events.DataReceived():
                    if event.data:
                        seen.append(("data", event.stream_id, event.data))
                case h2.events.StreamEnded():
                    seen.append(("end", event.stream_id))
                case h2.events.StreamReset():
                    if event.remote_reset:
                        seen.append(("reset", event.stream_id, int(event.error_code)))
        fault = f"connection {name_of(code)}" if code is not None else fault_in(sent)
        return Verdict(fault, tuple(sorted(seen, key=repr)))


class NGH2:
    def __init__(self, client: bool) -> None:
        role = ngh2.Role.CLIENT if client else ngh2.Role.SERVER
        self.connection = ngh2.Connection(role, ngh2.Configuration(auto_window_update=False))
        self.connection.initiate_connection(SETTINGS_OF_ALL)
        self.connection.data_to_send()
        self.connection.receive_data((b"" if client else PREFACE) + settings() + raw(SETTINGS, 0, b"", ACK))
        for _ in range(REQUESTS if client else 0):
            self.connection.send_request(CONNECT_OCTETS)
        self.connection.data_to_send()
        self.connection.events()

    def feed(self, octets: bytes) -> Verdict:
        failed = ""
        try:
            self.connection.receive_data(octets)
        except ngh2.NGH2Error as error:
            failed = f"connection {type(error).__name__}"
        sent = frames(self.connection.data_to_send())
        seen: list[tuple] = []
        for event in self.connection.events():
            match event:
                case ngh2.RequestReceived():
                    seen.append(("request", event.stream_id))
                    if event.end_stream:
                        seen.append(("end", event.stream_id))
                case ngh2.ResponseReceived():
                    seen.append(("response", event.stream_id, status_in(event.headers)))
                    if event.end_stream:
                        seen.append(("end", event.stream_id))
                case ngh2.DataReceived():
                    if event.data:
                        seen.append(("data", event.stream_id, event.data))
                    if event.end_stream:
                        seen.append(("end", event.stream_id))
                case ngh2.StreamReset():
                    seen.append(("reset", event.stream_id, event.error_code))
        return Verdict(fault_in(sent) or failed, tuple(sorted(seen, key=repr)))
