"""The memory twins behind a link that is cut: what waits, what fails, what is not heard."""

import asyncio
import time

import pytest

from roomful_nodes.bus import Message
from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Item, Unavailable
from roomful_rooms.log import Record
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.memory_link import Link
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog


@pytest.fixture
def link() -> Link:
    return Link()


async def waits(task: "asyncio.Task[object]") -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


async def test_appends_and_saves_wait_for_the_broker(link: Link) -> None:
    store = LogStore()
    log, archive = MemoryLog(store, link), MemoryArchive(store, link)
    link.cut()
    appending = asyncio.create_task(log.append("lobby", b"one", 0))
    saving = asyncio.create_task(archive.save("lobby", "snap", b"blob"))
    assert await waits(appending)
    assert await waits(saving)
    link.mend()
    assert await appending == 1
    await saving
    assert await archive.load("lobby", "snap") == b"blob"


async def test_an_append_whose_acknowledgement_is_cut_off_is_stored(link: Link) -> None:
    store = LogStore()
    appending = asyncio.create_task(MemoryLog(store, link).append("lobby", b"one", 0))
    await asyncio.sleep(0)
    link.cut()
    assert await waits(appending)
    assert await MemoryLog(store).last("lobby") == Record("lobby", 1, b"one")
    link.mend()
    assert await appending == 1


async def test_an_attempt_is_told_a_turn_later_or_at_once_if_the_link_is_cut(link: Link) -> None:
    store, told = LogStore(), list[int | None]()
    log = MemoryLog(store, link)
    log.attempt("lobby", b"one", 0, told.append)
    assert told == []
    await asyncio.sleep(0)
    assert told == [1]
    log.attempt("lobby", b"two", 1, told.append)
    link.cut()
    await asyncio.sleep(0)
    assert (told, len(store.read("lobby", 0, 9))) == ([1, None], 2)
    log.attempt("lobby", b"three", 2, told.append)
    assert (told, len(store.read("lobby", 0, 9))) == ([1, None, None], 2)


async def test_reads_and_directory_calls_are_unavailable(link: Link) -> None:
    store = LogStore()
    log, archive = MemoryLog(store, link), MemoryArchive(store, link)
    clock = Clock(time.monotonic, lambda: 0)
    directory = MemoryDirectory(DirectoryStore(clock), link)
    link.cut()
    for call in (
        log.last("lobby"), log.read("lobby", 0, 1), log.rooms(0), archive.load("lobby", "snap"),
        archive.discard("lobby", "snap"), directory.items(), directory.put("a", b"", 0),
        directory.delete("a", 0),
    ):  # fmt: skip
        with pytest.raises(Unavailable):
            await call


async def test_what_is_announced_while_cut_is_not_heard(link: Link) -> None:
    store, clock = LogStore(), Clock(time.monotonic, lambda: 0)
    directories = DirectoryStore(clock)
    records: list[Record] = []
    items: list[Item] = []
    await MemoryLog(store, link).follow("lobby", records.append)
    await MemoryDirectory(directories, link).watch(items.append)
    other, table = MemoryLog(store), MemoryDirectory(directories)
    link.cut()
    first = await other.append("lobby", b"missed", 0)
    revision = await table.put("table", b"missed", 0)
    link.mend()
    await other.append("lobby", b"heard", first)
    await table.put("table", b"heard", revision)
    assert [record.data for record in records] == [b"heard"]
    assert [item.value for item in items] == [b"heard"]


async def test_a_node_that_is_cut_off_hears_nothing_and_bounces(link: Link) -> None:
    switch = BusSwitch()
    cut_off, other = MemoryBus(switch, link), MemoryBus(switch)
    heard: list[Message] = []
    bounced: list[Message] = []
    await cut_off.subscribe("cmd", heard.append)
    await other.subscribe("bnc.*", bounced.append)
    link.cut()
    assert not cut_off.connected
    other.publish("cmd", b"?", "bnc.1")
    cut_off.publish("bnc.2", b"never sent")
    await asyncio.sleep(0)
    assert heard == []
    assert [message.subject for message in bounced] == ["bnc.1"]


async def test_a_log_keeps_its_newest_records() -> None:
    log = MemoryLog(LogStore(kept=3))
    position = 0
    for n in range(5):
        position = await log.append("lobby", b"%d" % n, position)
    assert [record.data for record in await log.read("lobby", 0, 10)] == [b"2", b"3", b"4"]
