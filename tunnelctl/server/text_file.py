"""Files that an operator writes: UTF-8, and not without end."""

from tunnelctl.errors import SettingsError, reason


def read_text(path: str, what: str, most: int) -> str:
    """The whole text. Raises SettingsError, also for more than `most` characters: a wrong path may be a device without an end."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(most + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{what} {path}", reason(error) if isinstance(error, OSError) else "it is not UTF-8") from error
    if len(text) > most:
        raise SettingsError(f"{what} {path}", f"it is longer than {most >> 20} MiB")
    return text
