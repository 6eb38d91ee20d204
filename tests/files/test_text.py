"""Reading files that people write: whole or only the first line, up to a size limit, and as text."""

import os
import stat
import threading
from pathlib import Path

import pytest

from tunnelctl.errors import SettingsError
from tunnelctl.files.text import decode, read_file, read_first_line
from tunnelctl.status import ExitStatus

MARK = b"\xef\xbb\xbf"


def test_a_file_is_read_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\n")
    path.chmod(0o640)
    octets, mode = read_file(str(path), "file", 4)
    assert octets == b"a\nb\n"
    assert stat.S_IMODE(mode) == 0o640
    assert read_first_line(str(path), "file", 4).octets == b"a\n"


def test_no_more_than_the_limit_is_read() -> None:
    """A device has no end."""
    with pytest.raises(SettingsError) as caught:
        read_file("/dev/zero", "it", 2048)
    assert (caught.value.what, caught.value.cause) == ("it", "larger than 2 KiB")
    with pytest.raises(SettingsError, match="it: its first line is longer than 7 bytes"):
        read_first_line("/dev/zero", "it", 7)


def test_reading_a_pipe_stops_after_its_first_line(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    read = threading.Event()

    def write() -> None:
        with open(path, "wb", buffering=0) as pipe:
            pipe.write(b"first\n")
            read.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert read_first_line(path, "it", 100).octets == b"first\n"
    finally:
        read.set()
        writer.join(20)


@pytest.mark.parametrize(("path", "cause"), [("/nonexistent", "no such file"), ("/", "is a directory"), ("a\0b", "contains a NUL")])
def test_unreadable_files_are_settings_errors(path: str, cause: str) -> None:
    for read in (read_file, read_first_line):
        with pytest.raises(SettingsError, match=f"^it: .*{cause}") as caught:
            read(path, "it", 1)
        assert caught.value.exit_status == ExitStatus.SETTINGS


@pytest.mark.parametrize("octets", ["pä".encode(), MARK + "pä".encode()])
def test_a_byte_order_mark_is_not_part_of_the_text(octets: bytes) -> None:
    assert decode(octets, "it") == "pä"
    assert decode(MARK, "it") == ""
    assert decode(MARK + MARK, "it") == "\ufeff", "only the first is a byte order mark"


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"secret\xff", "not UTF-8"),
        ("secret".encode("utf-16"), "UTF-16; it must be UTF-8"),
        ("secret".encode("utf-16-be").join([b"\xfe\xff", b""]), "UTF-16; it must be UTF-8"),
    ],
)
def test_an_encoding_error_does_not_show_the_content(octets: bytes, cause: str) -> None:
    with pytest.raises(SettingsError) as caught:
        decode(octets, "it")
    assert str(caught.value) == f"it: {cause}"
    assert caught.value.__cause__ is None
