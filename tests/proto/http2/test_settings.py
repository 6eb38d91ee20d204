"""SETTINGS: which values are valid, and what we send."""

import pytest
from hyperframe.frame import SettingsFrame

from tests.proto.http2.wire import frames
from tests.proto.http2.wire import settings as frame_of
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode
from tunnelctl.proto.http2.settings import MAX_ENTRIES, UNLIMITED, Settings


def updated(*entries: tuple[int, int], before: Settings | None = None, from_server: bool = False) -> Settings:
    return (before or Settings()).updated(memoryview(frame_of(*entries))[9:], from_server)


def code(*entries: tuple[int, int], before: Settings | None = None, from_server: bool = False) -> ErrorCode:
    with pytest.raises(ConnectionFault) as caught:
        updated(*entries, before=before, from_server=from_server)
    return caught.value.code


def test_only_what_differs_from_the_defaults_is_sent():
    assert frames(Settings().render()) == [(4, 0, 0, b"")]
    everything = Settings(0, 0, 100, 262144, 65536, 16384, 1)
    parsed = SettingsFrame()
    parsed.parse_body(memoryview(everything.render())[9:])
    assert parsed.settings == {1: 0, 2: 0, 3: 100, 4: 262144, 5: 65536, 6: 16384, 8: 1}
    assert Settings().updated(memoryview(everything.render())[9:], from_server=False) == everything


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ((1, 0), "header_table_size"),
        ((1, UNLIMITED), "header_table_size"),
        ((2, 0), "enable_push"),
        ((3, 0), "max_concurrent_streams"),
        ((4, 0), "initial_window_size"),
        ((4, (1 << 31) - 1), "initial_window_size"),
        ((5, 16384), "max_frame_size"),
        ((5, (1 << 24) - 1), "max_frame_size"),
        ((6, 0), "max_header_list_size"),
        ((8, 1), "enable_connect_protocol"),
        ((8, 0), "enable_connect_protocol"),
    ],
)
def test_a_valid_value_is_taken_and_leaves_the_others(entry, name):
    for from_server in (False, True):
        assert updated(entry, from_server=from_server) == Settings()._replace(**{name: entry[1]})


def test_the_last_of_several_values_counts_and_unknown_ones_do_not():
    assert updated((3, 5), (0, 1), (7, 1), (9, 1), (0xFFFF, 1), (3, 6)) == Settings(max_concurrent_streams=6)


def test_values_out_of_range():
    assert code((4, 1 << 31)) == ErrorCode.FLOW_CONTROL_ERROR
    assert code((5, 16383)) == code((5, 1 << 24)) == code((5, 0)) == ErrorCode.PROTOCOL_ERROR
    assert code((2, 2)) == code((8, 2)) == ErrorCode.PROTOCOL_ERROR
    assert code((4, 5), (4, 1 << 31), (4, 5)) == ErrorCode.FLOW_CONTROL_ERROR, "each value is checked"


def test_a_server_must_not_enable_push():
    assert code((2, 1), from_server=True) == ErrorCode.PROTOCOL_ERROR
    assert updated((2, 1)).enable_push == 1


def test_extended_connect_is_not_taken_back():
    """RFC 8441 section 3."""
    assert code((8, 0), before=updated((8, 1))) == ErrorCode.PROTOCOL_ERROR
    assert code((8, 1), (8, 0)) == ErrorCode.PROTOCOL_ERROR
    assert updated((8, 1), before=updated((8, 1))).enable_connect_protocol == 1


def test_the_size_of_the_payload():
    with pytest.raises(ConnectionFault) as caught:
        Settings().updated(memoryview(bytes(7)), from_server=False)
    assert caught.value.code == ErrorCode.FRAME_SIZE_ERROR
    assert updated(*[(3, 1)] * MAX_ENTRIES).max_concurrent_streams == 1
    assert code(*[(3, 1)] * (MAX_ENTRIES + 1)) == ErrorCode.ENHANCE_YOUR_CALM
