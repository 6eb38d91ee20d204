"""How many there are: sessions, tunnels, tunnels of one client address; and the caps on those. A cap of 0 is off."""

from tunnelctl.stream.accept import Crowd


class Caps(Crowd):
    """Counts what is open. A tunnel counts from its admission, so heads that never end do not use up the cap."""

    def __init__(self, tunnels: int, per_client: int) -> None:
        super().__init__()
        self._max, self._max_per_client = tunnels, per_client
        self.tunnels = 0
        self._by_client: dict[str, int] = {}

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
