"""Reading a room's past, for clients and for the hub."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.support.rooms import World, until, world
from tests.support.sockets import entry

from roomful_nodes.history import AHEAD, PAGES, VAIN, VISIBLE_BYTES
from roomful_protocol.blocks import EVERYONE, Audience, Page
from roomful_protocol.codecs.stored import page_pieces
from roomful_protocol.errors import Code, Refused
from roomful_protocol.messages import Denied, Read, Sender
from roomful_rooms.log import Unavailable
from roomful_rooms.recent import Recent

ANN = Sender("ann-s", "ann", "Ann", "n1", "a1")


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def visible(here: World, **read: int) -> tuple[list[int], bool]:
    entries, more = await here.hub.history.visible("lobby", ANN, Read(**read))
    return [entry.seq for entry in entries], more


async def test_backwards_from_the_newest_and_forwards_from_a_seq(here: World) -> None:
    here.room.say(*"abcdefgh")
    assert await visible(here, limit=3) == ([6, 7, 8], True)
    assert await visible(here, before=6, limit=3) == ([3, 4, 5], True)
    assert await visible(here, before=3, limit=3) == ([1, 2], False)
    assert await visible(here, after=2, limit=3) == ([3, 4, 5], True)
    assert await visible(here, after=6, limit=3) == ([7, 8], False)
    assert await visible(here, after=8, limit=3) == ([], False)


async def test_pages_and_memory_are_one_past(here: World) -> None:
    here.room.say(*"abcd")
    await here.room.page()
    here.room.say(*"efgh")
    await here.room.page()
    here.room.say(*"ijkl")
    found, more = await visible(here, limit=3)
    while more:
        seqs, more = await visible(here, limit=3, before=found[0])
        found = seqs + found
    assert found == list(range(1, 13))
    assert (await visible(here, after=2, limit=9))[0] == list(range(3, 12))


async def test_only_what_is_for_the_client_is_counted(here: World) -> None:
    for count in range(60):
        here.room.commit(EVERYONE if count % 10 == 0 else Audience(users=("bob",)))
    here.room.commit(Audience(users=("ann",)))
    assert await visible(here, limit=3) == ([41, 51, 61], True)
    assert await visible(here, before=41, limit=9) == ([1, 11, 21, 31], False)
    assert await visible(here, after=1, limit=2) == ([11, 21], True)


async def test_an_answer_has_a_size_too(here: World) -> None:
    here.room.say(*["x" * (VISIBLE_BYTES // 4)] * 8)
    assert await visible(here, limit=8) == ([6, 7, 8], True)
    assert await visible(here, after=0, limit=8) == ([1, 2, 3], True)


async def test_many_who_need_a_page_load_it_once(here: World) -> None:
    here.room.say(*"abcd")
    await here.room.page()
    loads = []
    load = here.room.archive.load

    async def counted(room: str, key: str, *, constant: bool = False) -> bytes | None:
        loads.append(key)
        return await load(room, key, constant=constant)

    here.room.archive.load = counted  # type: ignore[method-assign]
    read = Read(after=0)
    await asyncio.gather(*(here.hub.history.read("lobby", ANN, read) for _ in range(20)))
    await here.hub.history.read("lobby", ANN, read)
    assert loads == ["page-1-4"]


async def test_who_will_read_on_has_the_next_page_loaded_in_the_meantime(here: World) -> None:
    for texts in ("abcd", "efgh", "ijkl"):
        here.room.say(*texts)
        await here.room.page()
    loads, load = [], here.room.archive.load

    async def counted(room: str, key: str, *, constant: bool = False) -> bytes | None:
        loads.append(key)
        return await load(room, key, constant=constant)

    here.room.archive.load = counted  # type: ignore[method-assign]
    history = here.hub.history
    first = await history.read("lobby", ANN, Read(after=1, limit=9))
    assert [entry.seq for entry in first.entries] == [2, 3, 4]
    assert loads == ["page-1-4"], "nobody has said that there will be more reading"
    await history.read("lobby", ANN, Read(after=1, limit=9), ahead=True)
    await until(lambda: loads == ["page-1-4", "page-5-8"])
    await history.read("lobby", ANN, Read(after=4), ahead=True)
    await history.read("lobby", ANN, Read(after=8), ahead=True)
    assert loads == ["page-1-4", "page-5-8", "page-9-12"], "each once"


async def _pages_for_all(here: World, pages: int) -> Counter[tuple[str, str]]:
    """What is loaded from now on: rooms of any name have these pages."""
    for _ in range(pages):
        here.room.say(*"abcd")
        await here.room.page()
    loads, load = Counter[tuple[str, str]](), here.room.archive.load

    async def counted(room: str, key: str, *, constant: bool = False) -> bytes | None:
        loads[room, key] += 1
        return await load("lobby", key, constant=constant)

    here.room.archive.load = counted  # type: ignore[method-assign]
    return loads


async def test_where_many_read_at_once_no_page_is_loaded_in_vain(here: World) -> None:
    loads = await _pages_for_all(here, 4)
    rooms = [f"room {number}" for number in range(2 * PAGES)]
    for after in (0, 4, 8, 12):
        for room in rooms:
            await here.hub.history.read(room, ANN, Read(after=after), ahead=True)
    assert len(loads) == len(rooms) * 4
    assert set(loads.values()) == {1}


async def test_those_who_do_not_read_on_do_not_keep_others_from_reading_ahead(here: World) -> None:
    loads, history = await _pages_for_all(here, 2), here.hub.history
    for number in range(AHEAD):
        await history.read(f"gone {number}", ANN, Read(after=0), ahead=True)
    await history.read("early", ANN, Read(after=0), ahead=True)
    for number in range(VAIN + 1):
        await history.read(f"room {number}", ANN, Read(after=0))
    await history.read("late", ANN, Read(after=0), ahead=True)
    await until(lambda: loads["late", "page-5-8"])
    assert not loads["early", "page-5-8"]


async def test_a_page_that_vanishes_is_asked_for_anew(here: World) -> None:
    here.room.say(*"abcd")
    await here.room.page()
    await here.room.archive.discard("lobby", "page-1-4")
    with pytest.raises(Refused) as caught:
        await here.hub.history.read("lobby", ANN, Read(after=0))
    assert caught.value.code is Code.UNAVAILABLE


async def test_a_page_that_cannot_be_read_is_asked_for_anew(here: World) -> None:
    here.room.say(*"abcd")
    await here.room.page()
    await here.room.archive.save("lobby", "page-1-4", b"\xc1 of a version to come")
    with pytest.raises(Refused) as caught:
        await here.hub.history.read("lobby", ANN, Read(after=0))
    assert caught.value.code is Code.UNAVAILABLE


async def test_what_the_owner_denies_is_refused(here: World) -> None:
    here.room.denials = [Denied("no_such_room", "There is none.")]
    with pytest.raises(Refused) as caught:
        await here.hub.history.read("lobby", ANN, Read(after=0))
    assert caught.value.code is Code.NO_SUCH_ROOM


async def test_an_archive_that_is_away_says_so_to_all_who_wait(here: World) -> None:
    here.room.say(*"abcd")
    await here.room.page()

    async def away(room: str, key: str, *, constant: bool = False) -> bytes | None:
        await asyncio.sleep(0)
        raise Unavailable

    here.room.archive.load = away  # type: ignore[method-assign]
    reading = [here.hub.history.read("lobby", ANN, Read(after=0)) for _ in range(3)]
    outcomes = await asyncio.gather(*reading, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Refused] * 3


async def test_pages_of_two_owners_that_begin_with_the_same_entry_are_two(here: World) -> None:
    here.room.say("a", "b")
    await here.room.page()
    assert await visible(here, after=0) == ([1, 2], False)
    here.room.say("c", "d")
    page, entries = Page(1, 4), [entry(seq) for seq in range(1, 5)]
    await here.room.archive.save("lobby", page.key, b"".join(page_pieces(entries)))
    here.room.recent = Recent("e1", 4, (page,))
    assert await visible(here, after=0) == ([1, 2, 3, 4], False)
