"""The feeds of a node: opened when needed, kept a little, closed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.rooms import World, turns, until, world

from roomful_nodes.bus import Message
from roomful_protocol.blocks import EVERYONE
from roomful_protocol.codecs.internode import pack_live
from roomful_protocol.messages import Live
from roomful_rooms.log import Following


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def followers(here: World) -> int:
    return len(here.room.store.followers["lobby"])


def listeners(here: World) -> int:
    """Of what is ephemeral."""
    return len(here.outside.switch.listeners(here.subjects.live("lobby")))


async def test_members_of_one_room_share_a_feed(here: World) -> None:
    await here.joined("ann")
    await here.joined("bob")
    assert (len(here.hub), followers(here)) == (1, 1)


async def test_a_feed_outlives_its_last_member_a_little(here: World) -> None:
    here.hub._lingering.seconds = 0.01
    ann = await here.joined("ann")
    ann.membership.detach()
    assert len(here.hub) == 1
    bob = await here.joined("bob")
    here.room.say("hi")
    await until(lambda: bob.seqs == [1])
    bob.membership.detach()
    bob.membership.detach()
    await until(lambda: not here.hub and not followers(here))


async def test_a_feed_that_is_gone_before_it_is_established_follows_nothing(here: World) -> None:
    here.hub._lingering.seconds = 0
    feed = here.hub.feed("lobby")
    here.hub.release(feed)
    await until(lambda: not len(here.hub))
    await turns()
    assert followers(here) == 0


async def test_a_check_finds_what_was_lost_without_a_trace(here: World) -> None:
    ann = await here.joined("ann")
    here.room.commit(EVERYONE, times=0)
    await turns()
    assert ann.seqs == []
    here.hub.check()
    await until(lambda: ann.seqs == [1])


async def test_closing_stops_following_and_forgets_late_releases(here: World) -> None:
    ann = await here.joined("ann")
    await here.hub.close()
    assert (followers(here), listeners(here)) == (0, 0)
    ann.membership.detach()
    assert len(here.hub) == 0


# -- rooms of this very node -----------------------------------------------------------------------


def write_here(here: World, *, announced: bool = True) -> None:
    here.hub.hear_own("lobby", here.room.commit(EVERYONE, times=int(announced)))


async def test_a_room_that_this_node_writes_to_need_not_be_announced(here: World) -> None:
    ann = await here.joined("ann")
    write_here(here)
    await until(lambda: not followers(here))
    write_here(here, announced=False)
    assert ann.seqs == [1, 2]


async def test_one_that_it_has_left_is_followed_and_what_was_missed_is_read(here: World) -> None:
    ann = await here.joined("ann")
    write_here(here)
    await until(lambda: not followers(here))
    here.room.say("another's", "unheard")
    here.hub.heed("lobby")
    here.hub.heed("lobby")
    here.hub.heed("elsewhere")
    await until(lambda: ann.seqs == [1, 2, 3])
    here.room.say("heard")
    await until(lambda: ann.seqs == [1, 2, 3, 4])
    assert (followers(here), listeners(here)) == (1, 1)


async def test_while_the_lease_is_in_doubt_others_are_heard(here: World) -> None:
    ann = await here.joined("ann")
    write_here(here)
    await until(lambda: not followers(here))
    here.room.say("another's")
    here.hub.doubt(True)
    await until(lambda: ann.seqs == [1, 2])
    write_here(here)
    await turns()
    assert followers(here) == 1
    here.hub.doubt(False)
    write_here(here)
    await until(lambda: not followers(here))
    assert ann.seqs == [1, 2, 3, 4]


async def test_one_that_is_left_before_its_live_subject_is_followed_is_followed(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_on, subscribe = asyncio.Event(), here.hub._bus.subscribe

    async def late(subject: str, heard: Callable[[Message], None]) -> Following:
        await let_on.wait()
        return await subscribe(subject, heard)

    monkeypatch.setattr(here.hub._bus, "subscribe", late)
    ann = await here.joined("ann")
    write_here(here)
    await turns()
    here.hub.heed("lobby")
    let_on.set()
    await turns()
    here.room.say("another's")
    await until(lambda: ann.seqs == [1, 2])


async def test_a_check_has_the_rooms_of_this_node_followed_too(here: World) -> None:
    ann = await here.joined("ann")
    write_here(here)
    await until(lambda: not followers(here))
    here.room.say("another's")
    here.hub.check()
    await until(lambda: ann.seqs == [1, 2] and followers(here) == 1)


async def test_a_room_that_another_node_speaks_for_is_followed_again(here: World) -> None:
    """This node was taken for dead, say, and does not know it yet."""
    ann = await here.joined("ann")
    write_here(here)
    await until(lambda: not followers(here))
    here.room.say("another's")
    here.outside.publish(here.subjects.live("lobby"), pack_live(Live(head=2)))
    await until(lambda: ann.seqs == [1, 2] and followers(here) == 1)
    here.room.say("heard")
    await until(lambda: ann.seqs == [1, 2, 3])
