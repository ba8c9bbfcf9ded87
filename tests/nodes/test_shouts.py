"""What rooms say on the ephemeral lane: here at once, to other nodes in one message per turn."""

from collections.abc import AsyncIterator

import pytest
from tests.support.rooms import World, until, world

from roomful_nodes.bus import MAX_PAYLOAD, Message
from roomful_nodes.shouts import Shouts
from roomful_protocol.blocks import EVERYONE, Audience, Entry
from roomful_protocol.codecs.internode import unpack_live
from roomful_protocol.messages import Live


class Elsewhere:
    """Another node, as far as it listens to the lobby's live subject."""

    def __init__(self) -> None:
        self.count = 1
        self.heard: list[Live] = []

    def hear(self, message: Message) -> None:
        self.heard.append(unpack_live(message.payload))

    @property
    def frames(self) -> list[bytes]:
        return [entry.frame for live in self.heard for entry in live.entries]


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def elsewhere(here: World) -> Elsewhere:
    elsewhere = Elsewhere()
    await here.outside.subscribe(here.subjects.live("lobby"), elsewhere.hear)
    return elsewhere


@pytest.fixture
def shouts(here: World, elsewhere: Elsewhere) -> Shouts:
    return Shouts(here.hub._bus, here.subjects, here.hub, lambda: elsewhere.count)


def said(*frames: bytes) -> Live:
    return Live(tuple(Entry(0, frame) for frame in frames))


async def test_all_of_one_turn_goes_to_other_nodes_in_one_message_and_in_order(
    here: World, elsewhere: Elsewhere, shouts: Shouts
) -> None:
    ann = await here.joined("ann")
    shouts.say("lobby", said(b'{"type":"a.1"}', b'{"type":"a.2"}'))
    shouts.say("garden", said(b'{"type":"b.1"}'))
    shouts.say("lobby", Live((Entry(0, b'{"type":"a.3"}', Audience(skip="x")),)))
    await until(lambda: elsewhere.heard)
    [live] = elsewhere.heard
    assert [entry.frame[9:12] for entry in live.entries] == [b"a.1", b"a.2", b"a.3"]
    assert [entry.audience for entry in live.entries] == [EVERYONE, EVERYONE, Audience(skip="x")]
    await until(lambda: ann.types() == ["joined", "a.1", "a.2", "a.3"])


async def test_more_than_one_message_holds_goes_in_several(
    here: World, elsewhere: Elsewhere, shouts: Shouts
) -> None:
    frames = [b"%d" % n * (MAX_PAYLOAD // 3) for n in range(6)]
    shouts.say("lobby", said(*frames))
    await until(lambda: len(elsewhere.frames) == 6)
    assert elsewhere.frames == frames
    assert 3 <= len(elsewhere.heard) <= 6


async def test_nobody_elsewhere_is_told_nothing_but_how_far_a_room_with_members_there_is(
    here: World, elsewhere: Elsewhere, shouts: Shouts
) -> None:
    ann = await here.joined("ann")
    elsewhere.count = 0
    shouts.say("lobby", said(b'{"type":"a.1"}'))
    await until(lambda: ann.types() == ["joined", "a.1"])
    shouts.tell_head("lobby", 2, elsewhere=False)
    shouts.tell_head("lobby", 3, elsewhere=True)
    await until(lambda: elsewhere.heard)
    assert elsewhere.heard == [Live(head=3)]
