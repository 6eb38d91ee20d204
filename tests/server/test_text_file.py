"""Reading text files that an operator has written."""

import os
import threading
from pathlib import Path

import pytest

from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import SettingsError
from tunnelctl.server import text_file
from tunnelctl.server.text_file import read_text


def test_a_text_file_is_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("naïve\n", "utf-8")
    assert read_text(str(path), "file", 7) == "naïve\n"


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbftext")
    assert read_text(str(path), "file", 7) == "text"


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("missing", "no such file or directory"),
        ("", "is a directory"),
        ("latin", "not UTF-8"),
        ("long", "longer than 1 MiB"),
        ("/dev/zero", "longer than 1 MiB"),
    ],
)
def test_an_unreadable_file_is_reported_with_its_cause(name: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("naïve".encode("latin-1"))
    (tmp_path / "long").write_text(" " * ((1 << 20) + 1))
    path = str(tmp_path / name)
    with pytest.raises(SettingsError) as caught:
        read_text(path, "the file", 1 << 20)
    assert (caught.value.what, caught.value.cause) == (f"the file {path}", cause)


@pytest.mark.parametrize("opened", [False, True])
def test_m6_a_pipe_without_data_is_given_up_after_a_time_limit(
    opened: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether no process has opened the other end, or one has and writes nothing."""
    monkeypatch.setattr(text_file, "OPEN_SECONDS", 0.1)
    monkeypatch.setattr(text_file, "PIPE_SECONDS", 0.1)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR) if opened else None
    try:
        with pytest.raises(SettingsError, match="pipe"):
            read_text(str(path), "the file", 9)
    finally:
        if writer is not None:
            os.close(writer)


def test_a_pipe_is_read_to_its_end_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    reading = threading.Event()

    def write() -> None:
        for piece in (b"one ", b"two ", b"three"):
            os.write(writer, piece)
            reading.wait(0.02)
        os.close(writer)

    other = threading.Thread(target=write)
    other.start()
    try:
        assert read_text(str(path), "the file", 99) == "one two three"
    finally:
        other.join()


def test_the_writer_of_a_named_pipe_may_open_it_after_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `make-rules > rules & tunnelctl serve --policy rules`."""
    monkeypatch.setattr(text_file, "OPEN_SECONDS", 10.0)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    other = threading.Thread(target=lambda: path.write_text("text"))  # open(2) waits until we have opened it
    patched = text_file._await_writer

    def start_and_wait(fd: int) -> None:
        assert os.read(fd, 1) == b"", "a writer has already opened the pipe"
        other.start()
        patched(fd)

    monkeypatch.setattr(text_file, "_await_writer", start_and_wait)
    assert read_text(str(path), "the file", 9) == "text"
    other.join()


def test_a_pipe_whose_writer_has_closed_it_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "OPEN_SECONDS", 60.0)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    patched = text_file._await_writer

    def open_and_wait(fd: int) -> None:
        os.close(os.open(path, os.O_WRONLY))
        patched(fd)

    monkeypatch.setattr(text_file, "_await_writer", open_and_wait)
    with pytest.raises(SettingsError, match="no program writes to it"):
        read_text(str(path), "the file", 9)


def test_reading_a_pipe_a_second_time_is_an_error_not_an_empty_text() -> None:
    """As a shell creates one for `--policy <(COMMAND)`."""
    reader, writer = os.pipe()
    try:
        os.write(writer, b"text")
        os.close(writer)
        path = f"/dev/fd/{reader}"
        assert read_text(path, "the file", 9) == "text"
        with pytest.raises(SettingsError) as caught:
            read_text(path, "the file", 9)
        assert caught.value.cause == "the pipe is empty, and no program writes to it"
        assert hint_of(caught.value) == "give a file: a pipe can be read only once"
    finally:
        os.close(reader)
