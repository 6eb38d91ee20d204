"""Files that an operator writes: UTF-8, and not without end."""

import os
import stat

from tunnelctl.errors import SettingsError, reason


def read_text(path: str, what: str, most: int) -> str:
    """The whole text. Raises SettingsError, also for more than `most` characters: a wrong path may be a device without an end."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(most + 1)
            spent = not text and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{what} {path}", reason(error) if isinstance(error, OSError) else "it is not UTF-8") from error
    if spent:  # by the first reading, as of <(COMMAND); to take it for a file without rules would open what they had closed
        raise SettingsError(f"{what} {path}", "a pipe can be read once, and nothing is left in it", "give a file that stays")
    if len(text) > most:
        raise SettingsError(f"{what} {path}", f"it is longer than {most >> 20} MiB")
    return text
