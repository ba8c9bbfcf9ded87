"""This node's key in the directory: put at the start, renewed well before it expires.

The lease's deadline counts from the *sending* of the last renewal that succeeded, on the monotonic
clock, so a node that was paused knows on waking that it may have been declared dead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace

import structlog

from roomful_nodes.view import NodeInfo, View, key_of
from roomful_protocol.codecs.values import pack
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Directory, Item, Unavailable

EXPIRY_LATE_S = 2.0
"""The broker may notice so much later that a key has expired, in seconds."""
RENEWALS = 5
"""A lease is renewed so often in its time."""
AGAIN_S = 0.02
"""Pause before another attempt, where it is known what was wrong with the last one; twice as long
before each further one, as a store that was put back has what nobody knows of until it expires."""

log = structlog.get_logger()


class Registration:
    """`me` is what the others are told of this node; `counted` brings that up to date.

    `sound` returns when all that the node needs of the broker has answered. `serve_until` is told
    up to when the lease is certain, monotonic seconds; `returned` is called when this node is back
    after it was taken for dead. `replaced` is set when another process has its name: then this one
    is no node any more.
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
        sound: Callable[[], Awaitable[None]],
        serve_until: Callable[[float], None],
        returned: Callable[[], None],
    ) -> None:
        self.me = me
        self._directory, self._view, self._clock, self._lease_s = directory, view, clock, lease_s
        self._counted, self._sound = counted, sound
        self._serve_until, self._returned = serve_until, returned
        self._revision = 0
        self._until = 0.0
        self._sound_at = clock.monotonic()
        self._taken_for_dead = False
        self.replaced = asyncio.Event()
        self._putting = asyncio.Lock()
        self._left = False

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
        """Renew until cancelled, or replaced."""
        again_s = AGAIN_S
        while not self.replaced.is_set():
            if await self._renewed():
                pause_s, again_s = self._lease_s / RENEWALS, AGAIN_S
            else:
                pause_s, again_s = again_s, min(2 * again_s, self._lease_s / RENEWALS)
            await asyncio.sleep(pause_s)

    async def keep_sound(self) -> None:
        """Ask all connections for signs of life, until cancelled."""
        while True:
            try:
                await self._ask_soundness()
            except Unavailable as problem:
                log.warning("node.unsound", reason=str(problem))
            await asyncio.sleep(self._lease_s / RENEWALS)

    async def _ask_soundness(self) -> None:
        asked = self._clock.monotonic()
        await self._sound()
        self._sound_at = asked

    async def _renewed(self) -> bool:
        """Renew, if that can be; False if the key was not as we thought, and now is known."""
        try:
            # Not wait_for: in Python 3.11 it may swallow the cancellation of its own task.
            async with asyncio.timeout(self._lease_s / 2):
                await self._put_if_sound()
        except (Unavailable, TimeoutError) as problem:
            left_s = round(self._until - self._clock.monotonic(), 1)
            log.warning("node.lease_unsure", left_s=left_s, reason=str(problem) or "no answer")
        except Conflict:
            return not await self._looked_again()
        else:
            self._back()
        finally:
            self._serve_until(self._until)
        return True

    async def _put_if_sound(self) -> None:
        """A node that kept its lease, but could neither append nor hear, would hold up its rooms.

        A lease's time is what an answer may take, so that no flood costs a node its rooms.
        """
        if self._clock.monotonic() - self._sound_at > self._lease_s:
            await self._ask_soundness()
        await self._put()

    async def tell(self, state: str, left_s: float | None) -> None:
        """Have the others know that this node is in `state`. Raises Unavailable and Conflict; then
        the next renewal says it."""
        self.me = replace(self.me, state=state, left_s=left_s)
        await self._put()
        self._view.hear(Item(key_of(self.me.id), pack(asdict(self.me)), self._revision))

    async def _put(self) -> None:
        async with self._putting:
            if self._left:
                raise Unavailable("this node has left the cluster")
            self.me = self._counted(self.me)
            sent = self._clock.monotonic()
            self._revision = await self._directory.put(
                key_of(self.me.id), pack(asdict(self.me)), self._revision, ttl_s=self._lease_s
            )
        # Whole seconds of the broker's clock may be a little shorter than ours.
        self._until = sent + self._lease_s * 0.9
        self._serve_until(self._until)

    def _back(self) -> None:
        """Others may have swept what was ours while we were away."""
        if self._taken_for_dead:
            self._taken_for_dead = False
            self._returned()

    async def _looked_again(self) -> bool:
        """Our key has expired, or been written by an attempt of ours that seemed to fail: which of
        both. False if the broker does not say."""
        try:
            # The table, too: what has become of our partitions counts before we serve again.
            await self._view.resync(self._directory)
        except Unavailable:
            return False
        known = self._view.nodes.get(self.me.id)
        if known is None:
            log.warning("node.lease_lost")
            self._taken_for_dead, self._revision, self._until = True, 0, 0.0
        elif known.started_ms != self.me.started_ms:
            log.error("node.replaced", address=known.address)
            self._until = 0.0
            self.replaced.set()
        else:
            log.warning("node.lease_unsure", left_s=0, reason="written by an earlier attempt")
            self._revision = self._view.revision(key_of(self.me.id))
        return True

    async def end(self) -> None:
        """Leave: others need not wait for the lease to expire."""
        async with self._putting:
            self._left = True
            try:
                await self._directory.delete(key_of(self.me.id), self._revision)
            except (Conflict, Unavailable):
                log.warning("node.leave_unsure")
