"""The last warnings and reloads that a program keeps for whoever looks later."""

import time

from tunnelctl.control.journal import LAST, Journal
from tunnelctl.errors import SettingsError
from tunnelctl.events import Event, Warning, explained
from tunnelctl.stream.events import Reloaded, Stopped


def test_it_keeps_warnings_and_reloads_and_passes_everything_on() -> None:
    told: list[Event] = []
    journal = Journal(told.append)
    events = [Warning("a"), Reloaded("policy", "2 rules"), Stopped(), explained(Warning("b"), SettingsError("file", "no", "x"))]
    for event in events:
        journal(event)
    assert told == events
    assert [note.text for note in journal.warnings] == ["a", "b: file: no"]
    assert [note.text for note in journal.reloads] == ["policy: 2 rules"]
    assert abs(time.time() - journal.warnings[0].when) < 60


def test_it_keeps_only_the_last_ones() -> None:
    journal = Journal(lambda _: None)
    for number in range(3 * LAST):
        journal.note(Warning(str(number)))
    assert [note.text for note in journal.warnings] == [str(number) for number in range(2 * LAST, 3 * LAST)]
