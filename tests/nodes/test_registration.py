"""A node keeps its lease while it can be of use, knows when it may have lost it, and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.virtual_time import VirtualLoop, clock, until, virtual

from roomful_nodes.registration import EXPIRY_LATE_S, RENEWALS, Registration
from roomful_nodes.view import NodeInfo, View, key_of
from roomful_rooms.directory import Conflict, Item, Unavailable
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.memory_link import Link
from roomful_rooms.tasks import Tasks

LEASE_S = 5
ME = "me"


class Forgetful(MemoryDirectory):
    """A broker that writes, and then does not say so."""

    silent = False

    async def put(self, key: str, value: bytes, after: int, ttl_s: int | None = None) -> int:
        revision = await super().put(key, value, after, ttl_s)
        if self.silent:
            self.silent = False
            raise Unavailable("no answer")
        return revision


class Registered:
    """A registration, and what it has told its node. `sound`: all connections answer."""

    def __init__(self, store: DirectoryStore, started_ms: int = 1) -> None:
        self.store, self.link = store, Link()
        self.directory = Forgetful(store, self.link)
        self.view = View(ME, lambda _: None)
        self.tasks = Tasks("test")
        self.sound = asyncio.Event()
        self.sound.set()
        self.serves_until = 0.0
        self.returns = 0
        self.registration = Registration(
            NodeInfo(ME, "here", "1", started_ms), self.directory, self.view, clock=clock(),
            lease_s=LEASE_S, counted=lambda me: me, sound=self._sound,
            serve_until=self._serve_until, returned=self._returned,
        )  # fmt: skip

    async def _sound(self) -> None:
        await self.sound.wait()

    def _serve_until(self, time: float) -> None:
        self.serves_until = time

    def _returned(self) -> None:
        self.returns += 1

    async def start(self) -> None:
        await self.directory.watch(self.view.hear)
        await self.registration.first()
        self.tasks.start(self.registration.keep(), "lease")
        self.tasks.start(self.registration.keep_sound(), "soundness")

    @property
    def serves(self) -> bool:
        serves = now() < self.serves_until
        assert serves == self.registration.held
        return serves

    @property
    def listed(self) -> bool:
        """Whether others see this node."""
        item = self.store.newest.get(key_of(ME))
        return item is not None and item.value is not None


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def registered() -> AsyncIterator[Registered]:
    node = Registered(DirectoryStore(clock()))
    await node.start()
    try:
        yield node
    finally:
        await node.tasks.close()


@virtual
async def test_a_lease_is_held_for_as_long_as_it_is_renewed() -> None:
    async with registered() as node:
        for _ in range(100):
            await asyncio.sleep(0.7)
            assert node.serves
            assert node.listed
        assert node.returns == 0


@virtual
async def test_a_node_that_is_cut_off_stops_before_others_may_take_over() -> None:
    async with registered() as node:
        node.link.cut()
        await until(lambda: not node.serves)
        assert node.listed, "others may own its rooms, and it serves them still"
        await until(lambda: not node.listed)
        assert node.returns == 0
        node.link.mend()
        await until(lambda: node.serves, within_s=LEASE_S / RENEWALS + 1)
        assert node.listed
        await until(lambda: node.returns)


@virtual
async def test_who_was_paused_serves_nobody_on_waking_and_comes_back_at_once() -> None:
    async with registered() as node:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await asyncio.sleep(LEASE_S + 0.5)  # between two renewals
        loop._jumping.now += 3 * LEASE_S
        assert not node.serves
        await until(lambda: node.returns == 1, within_s=0.1)
        assert node.serves
        assert node.listed


@virtual
async def test_a_node_that_can_no_longer_append_or_hear_gives_its_lease_up() -> None:
    async with registered() as node:
        node.sound.clear()
        await asyncio.sleep(LEASE_S * 0.9)
        assert node.serves, "a flood would cost it its rooms"
        await until(lambda: not node.listed, within_s=2.5 * LEASE_S)
        assert not node.serves
        await asyncio.sleep(10 * LEASE_S)
        assert not node.listed, "it comes and goes"
        node.sound.set()
        await until(lambda: node.serves, within_s=3 * LEASE_S / RENEWALS)
        await until(lambda: node.returns)


@virtual
async def test_a_renewal_that_was_made_without_an_answer_is_recognised() -> None:
    async with registered() as node:
        node.directory.silent = True
        for _ in range(10 * RENEWALS):
            await asyncio.sleep(LEASE_S / RENEWALS)
            assert node.serves
            assert node.listed
        assert node.returns == 0


@virtual
async def test_a_store_that_was_put_back_is_not_asked_all_the_time_until_its_lease_is_over() -> (
    None
):
    async with registered() as node:
        asked = list[float]()

        async def put(key: str, value: bytes, after: int, ttl_s: int | None = None) -> int:
            asked.append(now())
            return await MemoryDirectory.put(node.directory, key, value, after, ttl_s)

        old = node.store.newest[key_of(ME)]
        await asyncio.sleep(3 * LEASE_S)
        node.directory.put = put  # type: ignore[method-assign]
        node.store.newest[key_of(ME)] = Item(old.key, old.value, old.revision)
        await until(lambda: asked)
        await asyncio.sleep(LEASE_S)
        assert len(asked) < 3 * LEASE_S
        node.store.newest[key_of(ME)] = Item(old.key, None, node.view.revision(key_of(ME)) + 1)
        await until(lambda: node.serves, within_s=2 * LEASE_S / RENEWALS)


@virtual
async def test_who_was_buried_alive_registers_again() -> None:
    async with registered() as node:
        await node.directory.delete(key_of(ME), node.store.newest[key_of(ME)].revision)
        assert not node.listed
        await until(lambda: node.listed, within_s=LEASE_S / RENEWALS + 0.1)
        await until(lambda: node.returns == 1)
        assert node.serves


@virtual
async def test_a_name_is_free_when_the_lease_of_its_dead_owner_has_expired() -> None:
    store = DirectoryStore(clock())
    dead = Registered(store)
    await dead.start()
    await dead.tasks.close()
    began = now()
    heir = Registered(store, started_ms=2)
    await heir.start()
    assert LEASE_S - 1 <= now() - began <= LEASE_S + EXPIRY_LATE_S
    assert heir.serves
    await heir.tasks.close()


@virtual
async def test_who_finds_another_under_its_name_is_no_node_any_more() -> None:
    async with registered() as node:
        node.link.cut()
        twin = Registered(node.store, started_ms=2)
        await until(lambda: not node.listed)
        await twin.start()
        node.link.mend()
        await until(node.registration.replaced.is_set)
        assert not node.serves
        await asyncio.sleep(10 * LEASE_S)
        assert not node.serves
        assert twin.serves
        assert twin.returns == 0
        await twin.tasks.close()


@virtual
async def test_a_name_that_is_in_use_is_refused() -> None:
    async with registered() as node:
        twin = Registered(node.store, started_ms=2)
        with pytest.raises(Conflict, match="another --node-id"):
            await twin.start()
