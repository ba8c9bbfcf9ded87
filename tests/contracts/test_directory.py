"""The contract of `Directory`, on every twin: compare-and-set, times to live, watchers."""

import asyncio

import pytest
from tests.support.twins import until

from roomful_rooms.directory import Conflict, Directory, Item

pytest_plugins = ["tests.support.nats_server"]

Directories = tuple[Directory, Directory]


async def watched(directory: Directory) -> list[Item]:
    """What is heard from now on."""
    heard: list[Item] = []
    await directory.watch(heard.append)
    return heard


async def test_a_key_that_was_put_is_there_for_every_node(directories: Directories) -> None:
    a, b = directories
    revision = await a.put("table", b"one", 0)
    assert revision > 0
    expected = {"table": Item("table", b"one", revision)}
    assert await a.items() == await b.items() == expected


async def test_an_empty_directory_has_no_items(directories: Directories) -> None:
    a, _ = directories
    assert await a.items() == {}


async def test_revisions_grow_over_all_keys(directories: Directories) -> None:
    a, b = directories
    revisions = [
        await a.put("node.a", b"1", 0),
        await b.put("node.b", b"1", 0),
        await a.put("table", b"1", 0),
    ]
    revisions.append(await b.put("node.a", b"2", revisions[0]))
    assert revisions == sorted(set(revisions))


async def test_whoever_does_not_know_the_newest_revision_is_refused(
    directories: Directories,
) -> None:
    a, b = directories
    first = await a.put("table", b"one", 0)
    second = await b.put("table", b"two", first)
    for stale in (0, first, second + 100):
        with pytest.raises(Conflict):
            await a.put("table", b"late", stale)
    assert await a.items() == {"table": Item("table", b"two", second)}


async def test_a_key_that_was_never_there_cannot_be_changed(directories: Directories) -> None:
    a, _ = directories
    with pytest.raises(Conflict):
        await a.put("table", b"one", 7)
    with pytest.raises(Conflict):
        await a.delete("table", 7)


async def test_one_of_many_rivals_wins(directories: Directories) -> None:
    tries = [directories[n % 2].put("table", b"%d" % n, 0) for n in range(20)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    won = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, int)]
    assert len(won) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19
    item = (await directories[0].items())["table"]
    assert item.value == b"%d" % won[0]


async def test_counting_together_loses_no_step(directories: Directories) -> None:
    """Lost races are looked at again, as owners of the table do."""

    async def step(directory: Directory) -> None:
        while True:
            item = (await directory.items()).get("count")
            count = int(item.value or b"0") if item else 0
            try:
                await directory.put("count", b"%d" % (count + 1), item.revision if item else 0)
            except Conflict:
                continue
            return

    await asyncio.gather(*(step(directories[n % 2]) for n in range(16)))
    assert (await directories[0].items())["count"].value == b"16"


async def test_a_deleted_key_is_gone_and_may_come_back(directories: Directories) -> None:
    a, b = directories
    revision = await a.put("node.a", b"1", 0)
    with pytest.raises(Conflict):
        await b.delete("node.a", revision + 1)
    await b.delete("node.a", revision)
    assert await a.items() == {}
    again = await a.put("node.a", b"2", 0)
    assert await b.items() == {"node.a": Item("node.a", b"2", again)}


async def test_a_revision_from_before_the_deletion_is_refused(directories: Directories) -> None:
    a, b = directories
    revision = await a.put("node.a", b"1", 0)
    await a.delete("node.a", revision)
    with pytest.raises(Conflict):
        await b.put("node.a", b"zombie", revision)


async def test_a_key_with_a_time_to_live_expires(directories: Directories) -> None:
    a, b = directories
    heard = await watched(b)
    revision = await a.put("node.a", b"1", 0, ttl_s=1)
    await a.put("node.b", b"1", 0, ttl_s=60)
    await a.put("table", b"1", 0)
    await until(lambda: len(heard) == 4)
    assert heard[-1].key == "node.a"
    assert heard[-1].value is None
    assert heard[-1].revision > revision
    assert set(await a.items()) == {"node.b", "table"}


async def test_a_key_that_is_put_again_in_time_lives_on(directories: Directories) -> None:
    a, b = directories
    heard = await watched(b)
    revision = await a.put("node.a", b"0", 0, ttl_s=1)
    for n in range(1, 5):
        await asyncio.sleep(0.4)  # the renewals' own pace, not a wait for something
        revision = await a.put("node.a", b"%d" % n, revision, ttl_s=1)
    await until(lambda: len(heard) == 5)
    assert [item.value for item in heard] == [b"0", b"1", b"2", b"3", b"4"]
    await until(lambda: len(heard) == 6)
    assert heard[-1].value is None


async def test_an_expired_key_may_be_put_again_by_anyone(directories: Directories) -> None:
    a, b = directories
    heard = await watched(b)
    revision = await a.put("node.a", b"1", 0, ttl_s=1)
    await until(lambda: len(heard) == 2)
    with pytest.raises(Conflict):
        await a.put("node.a", b"zombie", revision, ttl_s=1)
    again = await b.put("node.a", b"2", 0, ttl_s=60)
    assert await a.items() == {"node.a": Item("node.a", b"2", again)}


async def test_the_revision_of_an_expiry_may_be_written_over(directories: Directories) -> None:
    a, b = directories
    heard = await watched(b)
    await a.put("node.a", b"1", 0, ttl_s=1)
    await until(lambda: len(heard) == 2)
    await b.put("node.a", b"2", heard[-1].revision)
    assert (await a.items())["node.a"].value == b"2"


async def test_a_key_without_a_time_to_live_replaces_one_that_had_one(
    directories: Directories,
) -> None:
    a, b = directories
    heard = await watched(b)
    revision = await a.put("node.a", b"1", 0, ttl_s=1)
    await a.put("node.a", b"2", revision)
    await a.put("clock", b"", 0, ttl_s=2)
    await until(lambda: bool(heard) and heard[-1].key == "clock" and heard[-1].value is None)
    assert (await b.items())["node.a"].value == b"2"


async def test_watchers_hear_every_change_in_order(directories: Directories) -> None:
    a, b = directories
    heard_by_a, heard_by_b = await watched(a), await watched(b)
    first = await a.put("table", b"1", 0)
    second = await b.put("table", b"2", first)
    other = await a.put("node.a", b"x", 0)
    await b.delete("table", second)
    await until(lambda: len(heard_by_a) == len(heard_by_b) == 4)
    assert heard_by_a == heard_by_b
    assert heard_by_a[:3] == [
        Item("table", b"1", first),
        Item("table", b"2", second),
        Item("node.a", b"x", other),
    ]
    assert (heard_by_a[3].key, heard_by_a[3].value) == ("table", None)


async def test_a_closed_watcher_hears_nothing_more(directories: Directories) -> None:
    a, b = directories
    closed: list[Item] = []
    watching = await b.watch(closed.append)
    heard = await watched(b)
    await watching.close()
    await watching.close()
    await a.put("table", b"1", 0)
    await until(lambda: bool(heard))
    assert closed == []


async def test_many_keys_are_all_listed(directories: Directories) -> None:
    a, b = directories
    keys = [f"node.{n}" for n in range(150)]
    await asyncio.gather(*(a.put(key, key.encode(), 0) for key in keys))
    items = await b.items()
    assert {key: item.value for key, item in items.items()} == {key: key.encode() for key in keys}


async def test_large_values_fit(directories: Directories) -> None:
    a, b = directories
    value = bytes(range(256)) * 1000
    revision = await a.put("table", value, 0)
    assert await b.items() == {"table": Item("table", value, revision)}
