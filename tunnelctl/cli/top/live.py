"""The loop of `top`: looks at the processes, reads keys, draws."""

import time
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic

from tunnelctl.cli.top.poll import Instance, Poll
from tunnelctl.cli.top.processes import Processes, listen_to, only
from tunnelctl.cli.top.screen import Scene, Size, picture
from tunnelctl.cli.top.terminal import Terminal
from tunnelctl.cli.top.view import Extent, View, press

RETRY_SECONDS = 2.0  # seconds until a process that gave no answer is asked again, if the interval is longer


class Live:
    """The loop.

    find: lists what runs; names: which of that to show, all if empty; interval: seconds between two looks
    unicode: whether the terminal shows more than ASCII
    """

    def __init__(
        self,
        terminal: Terminal,
        find: Callable[[], Sequence[Instance]],
        names: Sequence[str],
        interval: float,
        unicode: bool,
    ) -> None:
        self._terminal = terminal
        self._find = find
        self._names = names
        self._interval = interval
        self._unicode = unicode
        self._poll = Poll(terminal.wake)
        self._running: Sequence[Instance] = ()
        self._processes: Processes = {}
        self._view = View()
        self._next_look, self._next_retry = 0.0, inf  # on the monotonic clock

    def run(self) -> None:
        """Runs until the user quits."""
        while not self._view.quit:
            if monotonic() >= self._next_look and not self._view.paused:
                self._look()
            if monotonic() >= self._next_retry and not self._view.paused:
                self._retry()
            self._listen()
            extent = self._draw()
            left = min(self._next_look, self._next_retry, self._poll.due()) - monotonic()
            for key in self._terminal.wait(self._interval if self._view.paused else left):
                self._press(key, extent)

    def _press(self, key: str, extent: Extent) -> None:
        before, self._view = self._view, press(self._view, key, extent)
        if self._view.looks != before.looks:
            self._look()

    def _look(self) -> None:
        """Asks all processes that run now."""
        self._next_look, self._next_retry = monotonic() + self._interval, inf
        self._running = [instance for instance in self._find() if not self._names or instance.name in self._names]
        self._processes = only(self._processes, [instance.name for instance in self._running], self._names)
        self._poll.ask(self._running, self._view.past)

    def _retry(self) -> None:
        """Asks those again that gave no answer."""
        self._next_retry = inf
        troubled = [instance for instance in self._running if self._processes[instance.name].trouble]
        self._poll.ask(troubled, self._view.past)

    def _listen(self) -> None:
        answers = self._poll.answers()
        for answer in answers:
            if answer.name in self._processes:
                self._processes = listen_to(self._processes, answer)
            if answer.trouble:
                self._next_retry = min(self._next_retry, monotonic() + RETRY_SECONDS)
        if self._view.past:  # who was asked before that was shown is asked again
            short = {answer.name for answer in answers if answer.recent is None and not answer.trouble}
            self._poll.ask([instance for instance in self._running if instance.name in short], with_recent=True)

    def _draw(self) -> Extent:
        columns, lines = self._terminal.size()
        scene = Scene(self._view, self._processes, time.strftime("%H:%M:%S"), monotonic(), self._interval)
        drawn = picture(scene, Size(columns, lines, self._unicode))
        self._terminal.show(drawn.lines)
        return drawn.extent
