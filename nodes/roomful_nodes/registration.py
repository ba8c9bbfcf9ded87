"""This node's key in the directory: put at the start, renewed well before it expires.

The lease's deadline counts from the *sending* of the last renewal that succeeded, on the monotonic
clock, so a node that was paused knows on waking that it may have been declared dead.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, replace

import structlog

from roomful_nodes.view import NodeInfo, View, key_of
from roomful_protocol.codecs.values import pack
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Directory, Item, Unavailable

EXPIRY_LATE_S = 2.0
"""The broker may notice so much later that a key has expired, in seconds."""

log = structlog.get_logger()


class Registration:
    """`me` is what the others are told of this node. `suspend` is called when the lease becomes
    certain or doubtful, `returned` when this node is back after it was taken for dead; `counted`
    brings what is told up to date.
    """

    def __init__(
        self,
        me: NodeInfo,
        directory: Directory,
        view: View,
        *,
        clock: Clock,
        lease_s: int,
        counted: Callable[[NodeInfo], NodeInfo],
        suspend: Callable[[bool], None],
        returned: Callable[[], None],
    ) -> None:
        self.me = me
        self._directory, self._view, self._clock, self._lease_s = directory, view, clock, lease_s
        self._counted, self._suspend, self._returned = counted, suspend, returned
        self._revision = 0
        self._until = 0.0
        self._taken_for_dead = False
        self._putting = asyncio.Lock()

    @property
    def held(self) -> bool:
        """Whether this node's own lease is certain."""
        return self._clock.monotonic() < self._until

    async def first(self) -> None:
        """Register. A node that was given a name may have died under it a moment ago: its lease is
        waited for. Raises Unavailable, and Conflict if a node of this name lives.
        """
        patience = self._clock.monotonic() + self._lease_s + EXPIRY_LATE_S
        while True:
            try:
                await self._put()
            except Conflict:
                if self._clock.monotonic() > patience:
                    raise Conflict(
                        f"A node named {self.me.id} is running already: choose another --node-id."
                    ) from None
                await asyncio.sleep(EXPIRY_LATE_S / 4)
            else:
                return

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(self._lease_s / 5)
            try:
                await asyncio.wait_for(self._put(), self._lease_s / 2)
            except (Unavailable, TimeoutError):
                log.warning(
                    "node.lease_unsure", left_s=round(self._until - self._clock.monotonic(), 1)
                )
            except Conflict:
                await self._look_again()
            else:
                self._back()
            if not self.held:
                self._suspend(True)

    async def tell(self, state: str, left_s: float | None) -> None:
        """Have the others know that this node is in `state`. Raises Unavailable and Conflict; then
        the next renewal says it."""
        self.me = replace(self.me, state=state, left_s=left_s)
        await self._put()
        self._view.hear(Item(key_of(self.me.id), pack(asdict(self.me)), self._revision))

    async def _put(self) -> None:
        async with self._putting:
            self.me = self._counted(self.me)
            sent = self._clock.monotonic()
            self._revision = await self._directory.put(
                key_of(self.me.id), pack(asdict(self.me)), self._revision, ttl_s=self._lease_s
            )
        # Whole seconds of the broker's clock may be a little shorter than ours.
        self._until = sent + self._lease_s * 0.9
        self._suspend(False)

    def _back(self) -> None:
        """Others may have swept what was ours while we were away."""
        if self._taken_for_dead:
            self._taken_for_dead = False
            self._returned()

    async def _look_again(self) -> None:
        """Our key has expired or been written by an attempt of ours that seemed to fail."""
        try:
            item = (await self._directory.items()).get(key_of(self.me.id))
        except Unavailable:
            return
        log.warning("node.lease_lost" if item is None else "node.lease_unsure")
        self._taken_for_dead |= item is None
        self._revision = 0 if item is None else item.revision

    async def end(self) -> None:
        """Leave: others need not wait for the lease to expire."""
        try:
            await self._directory.delete(key_of(self.me.id), self._revision)
        except (Conflict, Unavailable):
            log.warning("node.leave_unsure")
