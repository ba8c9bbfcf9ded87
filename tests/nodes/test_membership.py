"""What a session's place in a room becomes when the room is too busy, or away, to say."""

import asyncio

import pytest
from tests.support.rooms import until, world
from tests.support.virtual_time import virtual

from roomful_nodes.membership import AGAIN_S
from roomful_protocol.errors import Code
from roomful_protocol.messages import Denied, Enter

UNDECIDED = [Code.UNAVAILABLE, Code.BUSY]


def denied(code: Code) -> Denied:
    return Denied(code.slug, "Not now.", 200)


@virtual
@pytest.mark.parametrize("code", UNDECIDED)
async def test_a_member_again_is_one_as_soon_as_the_room_can_say(code: Code) -> None:
    async with world() as here:
        ann = await here.joined("ann")
        here.room.members.clear()
        here.room.denials = [denied(code), denied(code)]
        ann.membership.reaffirm()
        ann.membership.reaffirm()
        await asyncio.sleep(3 * AGAIN_S)
        assert list(here.room.members) == ["ann-s"]
        entered = [ask for _, ask in here.room.asked if isinstance(ask, Enter)]
        assert len(entered) == 1 + 3, "one after the other"
        here.room.say("hi")
        await until(lambda: "chat.message" in ann.types())
        assert not ann.refused


@virtual
async def test_who_has_gone_is_not_made_a_member_again() -> None:
    async with world() as here:
        ann = await here.joined("ann")
        here.room.members.clear()
        here.room.denials = [denied(Code.UNAVAILABLE)]
        ann.membership.reaffirm()
        ann.membership.detach()
        await asyncio.sleep(3 * AGAIN_S)
        assert not here.room.members


@virtual
async def test_who_may_not_be_a_member_again_is_told() -> None:
    async with world() as here:
        ann = await here.joined("ann")
        here.room.denials = [denied(Code.ROOM_FULL)]
        ann.membership.reaffirm()
        await until(lambda: ann.refused)
        assert ann.types()[-1] == "left"


@virtual
@pytest.mark.parametrize("code", UNDECIDED)
async def test_a_join_that_nobody_decided_can_be_repeated(code: Code) -> None:
    async with world() as here:
        ann = here.client("ann")
        here.room.denials = [denied(code)]
        ann.join()
        assert ann.frames[-1]["error"]["code"] == code.slug
        assert not ann.refused
        ann.join()
        assert ann.types()[-1] == "joined"


@virtual
async def test_a_join_that_was_refused_is_over() -> None:
    async with world() as here:
        ann = here.client("ann")
        here.room.denials = [denied(Code.FORBIDDEN)]
        ann.join()
        assert ann.refused


@virtual
async def test_a_join_that_was_left_before_it_was_refused_is_not_answered() -> None:
    async with world() as here:
        ann = here.client("ann")
        here.room.denials, here.room.delay_turns = [denied(Code.FORBIDDEN)], 3
        ann.join()
        ann.membership.leave(7)
        await until(lambda: "left" in ann.types())
        assert ann.types() == ["left"]
