"""Files that are replaced by switching a symbolic link: they are read again without a SIGHUP.

Kubernetes replaces a mounted ConfigMap or Secret by renaming a symbolic link, `..data`, over the old one, and sends no signal.
certbot makes the links in live/ lead to the renewed certificate. What such a link leads to is complete. A file that is rewritten
in place is not complete at every moment, and half a policy may be valid without its last deny rule: such a file waits for SIGHUP.
So this module looks at where the paths lead, and never at content or times. (Envoy watches its files for moves alone, too.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from tunnelctl.engine.kernel import BusyResourceError, sleep
from tunnelctl.engine.wakeup import to_thread

LOOK_SECONDS = 2.0  # between two looks; one takes 20 µs a file. The kubelet needs up to a minute to pass on a change


class FileSwitch:
    """Looks where paths lead, and notices when that has changed."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Must be made before the files are read for the first time. Ignores pipes, as of <(COMMAND): each can be read once."""
        self._paths = [path for path in paths if os.path.isfile(path)]
        self._read = self._look()  # where they led when they were last read

    async def run(self, read_again: Callable[[], None]) -> None:
        """Calls `read_again` after each change, until it is cancelled.

        A renewal switches several links, one after the other. So it calls only after two looks that agree.
        """
        before = self._read
        while True:
            await sleep(LOOK_SECONDS)
            try:
                now = await to_thread(self._look)  # where a file system hangs, this waits, and nothing else does
            except BusyResourceError:
                continue
            if now == before != self._read:
                self._read = now
                read_again()
            before = now

    def _look(self) -> list[str]:
        return [os.path.realpath(path) for path in self._paths]
