"""One node's way to the brokers in memory: what cuts it, and how it carries what is heard.

The memory twins of log, archive, directory and bus share it, so that a test or a simulation can
take the whole broker away from one node (`cut`) and give it back (`mend`). All that goes to the
broker goes through `ask` or `send`, and all that comes from it unasked through `bring`: a link of
another kind may delay, lose and hold up either.
"""

from asyncio import Event, get_running_loop, sleep
from collections.abc import Callable
from typing import Generic, TypeVar

from structlog import get_logger

from roomful_rooms.log import Unavailable

T = TypeVar("T")
log = get_logger(__name__)


class Link:
    """Up from the start. What is announced while it is cut is not heard, then or later. `losses`:
    how often it was cut."""

    def __init__(self) -> None:
        self.losses = 0
        self._up = Event()
        self._up.set()

    @property
    def up(self) -> bool:
        return self._up.is_set()

    def cut(self) -> None:
        self.losses += self.up
        self._up.clear()

    def mend(self) -> None:
        self._up.set()

    def require(self) -> None:
        """Raises Unavailable while the link is cut."""
        if not self.up:
            raise Unavailable("the broker is away")

    async def ask(self, operation: Callable[[], T]) -> T:
        """Have the broker do `operation`; what it returns or raises.

        Raises Unavailable, with the outcome unknown, if no answer comes.
        """
        self.require()
        result = operation()
        # The answer comes a turn later, as listeners hear of a change before it.
        await sleep(0)
        self.require()
        return result

    def attempt(self, operation: Callable[[], T | None], told: Callable[[T | None], None]) -> None:
        """Have the broker do `operation`; `told` hears what it returns, or None if no answer
        comes."""
        if not self.up:
            told(None)
            return
        result = operation()
        # A turn later, as above.
        get_running_loop().call_soon(lambda: told(result if self.up else None))

    async def insist(self, operation: Callable[[], T]) -> T:
        """Have the broker do `operation`, which may be done twice, until the outcome is known."""
        while True:
            await self._up.wait()
            try:
                return await self.ask(operation)
            except Unavailable:
                continue

    def send(self, operation: Callable[[], None]) -> None:
        """Have the broker do `operation`, without an answer; perhaps it does not."""
        if self.up:
            operation()

    def bring(self, heard: Callable[[T], None], item: T) -> None:
        """Have the node hear `item` in a later turn of its loop, in the order of calls; perhaps it
        does not."""
        if self.up:
            get_running_loop().call_soon(heard, item)


class Listener(Generic[T]):
    """One subscription: calls `heard` in later turns of the loop, in the order of `tell`."""

    def __init__(self, link: Link, heard: Callable[[T], None], closed: Callable[[], None]) -> None:
        self._link = link
        self._heard = heard
        self._closed = closed
        self._open = True

    def tell(self, item: T) -> None:
        """Have `item` heard, unless the link is cut now or closed by then."""
        self._link.bring(self._deliver, item)

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
            # They may lead back here, and to all that has listened.
            self._heard, self._closed = _unheard, _done


def _unheard(_: object) -> None:
    """Takes what comes after the end."""


def _done() -> None:
    """Takes ends that come after the end."""
