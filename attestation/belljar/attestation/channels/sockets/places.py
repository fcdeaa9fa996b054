"""How many may be on their way to a channel of one asyncio server, and how many channels there may be.

In come connections; out goes whoever has waited longest, when one more comes than may wait: who knocks and says nothing
costs a socket for a while, and keeps nobody out. A channel beyond the most is refused once it is proven, and told so.
Belongs to one loop.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from belljar.attestation.errors import ChannelRefused

from .transport import ChannelProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from belljar.attestation.channels.endpoint import Endpoint

_TOO_MANY = "too-many"


class Places:
    """The places of one server.

    Args:
        waiting: how many may be on their way to a channel at once.
        channels: how many may be open at once.

    Raises:
        ChannelRefused: one is not positive.
    """

    def __init__(self, waiting: int, channels: int) -> None:
        if min(waiting, channels) < 1:
            raise ChannelRefused(f"places of a server: got {waiting} and {channels}, expected 1 or more of each")
        self._most_waiting = waiting
        self._most_open = channels
        self._waiting: OrderedDict[PlacedProtocol, None] = OrderedDict()  # in the order they came
        self._open: set[PlacedProtocol] = set()

    def come(self, one: PlacedProtocol) -> None:
        """Take who knocks, and let go of who has waited longest if there are too many."""
        if len(self._waiting) >= self._most_waiting:
            oldest, _ = self._waiting.popitem(last=False)
            oldest.let_go("too many are waiting, and this one the longest")
        self._waiting[one] = None

    def enter(self, one: PlacedProtocol) -> bool:
        """Take an open channel, and say whether there was room for it."""
        self._waiting.pop(one, None)
        if len(self._open) >= self._most_open:
            return False
        self._open.add(one)
        return True

    def leave(self, one: PlacedProtocol) -> None:
        """Learn that a connection has ended."""
        self._waiting.pop(one, None)
        self._open.discard(one)


class PlacedProtocol(ChannelProtocol):
    """A connection that takes one of the places of its server; the other arguments are `ChannelProtocol`'s."""

    def __init__(
        self,
        endpoint: Endpoint,
        application: asyncio.Protocol,
        refused: Callable[[ChannelRefused], None],
        loop: asyncio.AbstractEventLoop,
        *,
        places: Places,
    ) -> None:
        super().__init__(endpoint, application, refused, loop)
        self._places = places

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, and begin."""
        self._places.come(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, and let go."""
        self._places.leave(self)
        super().connection_lost(exc)

    def has_room(self) -> bool:
        """Say whether the channel may be open; else it is refused."""
        if self._places.enter(self):
            return True
        self.let_go("too many channels are open")
        return False
