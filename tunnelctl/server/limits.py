"""How many there are: sessions, tunnels, tunnels of one client address; and the caps on those. A cap of 0 is off."""

from tunnelctl.engine.event import Event


class Caps:
    """Counts what is open. A tunnel counts from its admission, so heads that never end do not use up the cap."""

    def __init__(self, tunnels: int, per_client: int) -> None:
        self._max, self._max_per_client = tunnels, per_client
        self.tunnels = self.sessions = 0
        self.empty = Event()  # set when the last session has left while `draining`
        self.draining = False
        self._by_client: dict[str, int] = {}

    def enter(self) -> None:
        """Counts one more session."""
        self.sessions += 1

    def leave(self) -> None:
        """Takes one back; `empty` is set when none is left."""
        self.sessions -= 1
        if not self.sessions and self.draining:
            self.empty.set()

    def take(self, client: str) -> bool:
        """Counts one more for a client; False where that would pass a cap."""
        mine = self._by_client.get(client, 0)
        if (self._max and self.tunnels >= self._max) or (self._max_per_client and mine >= self._max_per_client):
            return False
        self.tunnels += 1
        self._by_client[client] = mine + 1
        return True

    def release(self, client: str) -> None:
        """Takes one of a client back."""
        self.tunnels -= 1
        rest = self._by_client[client] - 1
        if rest:
            self._by_client[client] = rest
        else:
            del self._by_client[client]
