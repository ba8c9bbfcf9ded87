"""One node's way to the brokers in memory: what cuts it, and how it carries what is heard.

The memory twins of log, archive, directory and bus share it, so that a test or a simulation can
take the whole broker away from one node (`cut`) and give it back (`mend`).
"""

from asyncio import Event, get_running_loop
from collections.abc import Callable
from typing import Generic, TypeVar

from structlog import get_logger

from roomful_rooms.log import Unavailable

T = TypeVar("T")
log = get_logger(__name__)


class Link:
    """Up from the start. What is announced while it is cut is not heard, then or later."""

    def __init__(self) -> None:
        self._up = Event()
        self._up.set()

    @property
    def up(self) -> bool:
        return self._up.is_set()

    def cut(self) -> None:
        self._up.clear()

    def mend(self) -> None:
        self._up.set()

    def require(self) -> None:
        """Raises Unavailable while the link is cut."""
        if not self.up:
            raise Unavailable("the broker is away")

    async def wait(self) -> None:
        """Return when the link is up: the way of calls that must know their outcome."""
        await self._up.wait()


class Listener(Generic[T]):
    """One subscription: calls `heard` in later turns of the loop, in the order of `tell`."""

    def __init__(self, link: Link, heard: Callable[[T], None], closed: Callable[[], None]) -> None:
        self._link = link
        self._heard = heard
        self._closed = closed
        self._open = True

    def tell(self, item: T) -> None:
        """Have `item` heard in the next turn, unless the link is cut now or closed by then."""
        if self._link.up:
            get_running_loop().call_soon(self._deliver, item)

    def _deliver(self, item: T) -> None:
        if not self._open:
            return
        try:
            self._heard(item)
        except Exception:
            log.exception("broker.listener_failed")

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._closed()
