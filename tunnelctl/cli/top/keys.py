"""The keys of a terminal: bytes in, names of keys out."""

import codecs

ESCAPE, ENTER, BACKSPACE, CLEAR = "Esc", "Enter", "Backspace", "Ctrl-U"
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "Up", "Down", "PgUp", "PgDn", "Home", "End"

_CONTROLS = {"\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\x08": BACKSPACE, "\x15": CLEAR}

# The ends of the sequences after ESC [ or ESC O: of xterm, and of rxvt, the Linux console and tmux where they differ.
_SEQUENCES = {
    "A": UP, "B": DOWN, "H": HOME, "F": END,
    "1~": HOME, "7~": HOME, "4~": END, "8~": END, "5~": PAGE_UP, "6~": PAGE_DOWN,
}  # fmt: skip


class Keys:
    """Reads keys from what the terminal sends, in any pieces. A character that prints is its own name."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""  # a sequence that is not complete

    @property
    def pending(self) -> bool:
        """Whether a sequence has begun. If nothing follows within some 50 ms, it was the key Esc: see `flush`."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[str]:
        """Returns the keys that are complete now."""
        keys = []
        for character in self._decoder.decode(data):
            keys += self._next(character)
        return keys

    def flush(self) -> list[str]:
        """Ends a sequence that does not go on."""
        alone, self._begun = self._begun == "\x1b", ""
        return [ESCAPE] if alone else []

    def _next(self, character: str) -> list[str]:
        if character == "\x1b":  # begins a sequence, and ends one that was broken off
            keys, self._begun = self.flush(), character
            return keys
        if self._begun:
            return self._continue(character)
        if character in _CONTROLS:
            return [_CONTROLS[character]]
        return [character] if character.isprintable() else []

    def _continue(self, character: str) -> list[str]:
        if self._begun == "\x1b":
            if character in "[O":
                self._begun += character
                return []
            self._begun = ""  # a key with Alt
            return []
        self._begun += character
        if not "@" <= character <= "~":  # parameters of the sequence; see ECMA-48, 5.4
            return []
        sequence, self._begun = self._begun[2:], ""
        return [_SEQUENCES[sequence]] if sequence in _SEQUENCES else []
