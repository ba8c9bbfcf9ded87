"""Joining and leaving: who is here, who is told so, and who cannot be kept."""

import asyncio

import pytest
from tests.support.hosting import Person, world
from tests.support.virtual_time import virtual
from tests.support.workshop import Workshop

from roomful_protocol.blocks import Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import Since
from roomful_protocol.messages import Accepted, Denied, Exit
from roomful_rooms.actor import Limits
from roomful_rooms.room import Message, Room, on

# -- joining and leaving ---------------------------------------------------------------------------


class Door(Room):
    """Lets people in and out slowly, or not at all, by their names."""

    async def on_join(self, member: Member) -> None:
        self.broadcast("hello.there", member.user)
        await asyncio.sleep(0.1)
        if member.user.startswith("bad"):
            raise Refused(Code.FORBIDDEN, "Not you.")
        self.state[member.user] = "in"

    async def on_leave(self, member: Member, reason: str) -> None:
        self.state[member.user] = "out"
        self.broadcast("good.bye", reason)
        match member.user:
            case "raiser":
                raise RuntimeError("a bug")
            case "refuser":
                raise Refused(Code.FORBIDDEN, "Stay!")
            case "sleeper":
                await asyncio.sleep(100)
            case "sender_of_nonsense":
                self.broadcast("bad.thing", float)
            case _:
                pass

    @on("chat.*")
    def said(self, message: Message) -> None:
        self.relay(message)


@virtual
async def test_who_is_turned_away_was_never_there() -> None:
    async with world() as w:
        node = w.node(Door)
        ann = await Person(w, node, "ann").entered()
        bad = Person(w, node, "bad")
        assert await bad.enter().answered() == Denied("forbidden", "Not you.")
        assert ann.who().listing.members == (ann.member,)
        assert isinstance(await bad.say("hi").answered(), Denied)
        assert w.said() == ["ann"]


@virtual
async def test_nobody_is_told_of_a_member_who_is_still_at_the_door() -> None:
    """Ann's welcome is made while Bad's fate is undecided, and so is the block of her join."""
    async with world() as w:
        node = w.node(Door)
        zoe = await Person(w, node, "zoe").entered()
        ann, bad = Person(w, node, "ann"), Person(w, node, "bad")
        node.log.may_write.clear()
        zoe.say("hold the log")
        entered = ann.enter()
        await asyncio.sleep(0.2)
        refused = bad.enter()
        await asyncio.sleep(0.05)
        assert node.host._actors["lobby"].members == 3
        node.log.may_write.set()
        await entered.answered(0.01)
        assert refused.answer is None
        assert entered.welcome.listed == (zoe.member, ann.member)
        assert entered.welcome.count == 2
        assert w.blocks()[-1].count == 2
        await refused.answered()


@pytest.mark.parametrize("user", ["raiser", "refuser", "sleeper", "sender_of_nonsense"])
@virtual
async def test_who_leaves_has_left_whatever_on_leave_does(user: str) -> None:
    """Or a member would stay for ever: nobody comes to say again that it has gone."""
    async with world() as w:
        node = w.node(Door, limits=Limits(handler_s=2))
        ann = await Person(w, node, "ann").entered()
        other = await Person(w, node, user).entered()
        assert isinstance(await other.leave().answered(), Accepted)
        assert ann.who().listing.members == (ann.member,)
        folded = w.folded()
        assert list(folded.presence) == [ann.member]
        # But of what the handler did, nothing has happened.
        assert folded.state == {"ann": "in", user: "in"}
        left = [f["data"]["left"] for f in w.frames() if f["type"] == "presence"][-1]
        assert [person["user"] for person in left] == [user]
        assert "good.bye" not in {frame["type"] for frame in w.frames()}


@virtual
async def test_a_room_takes_as_many_as_it_has_place_for() -> None:
    async with world() as w:
        node = w.node(Workshop)
        people = [await Person(w, node, name).entered() for name in ("a", "b", "c")]
        late = Person(w, node, "d")
        full = late.enter()
        assert full.denied.code == Code.ROOM_FULL.slug
        await people[0].leave().answered()
        # What was refused stays refused under its number; a new attempt is a new question.
        assert late.again(full).denied == full.denied
        await late.entered()
        assert len(late.who().listing.members) == 3


@virtual
async def test_a_session_that_moves_needs_no_place_and_nobody_hears_of_it() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        for name in ("b", "c"):
            await Person(w, node, name).entered()
        moved = Person(w, w.node(term=None), "ann", session=ann.sender.session).at(node)
        assert moved.sender.node == "n2"
        await moved.entered()
        assert [frame["seq"] for frame in w.frames()] == [1, 2, 3]
        assert next(iter(w.folded().presence)) == moved.member
        ghost = ann.say("boo", "do.say")
        assert ghost.denied.code == Code.NOT_JOINED.slug
        assert ann.leave().denied.code == Code.NOT_JOINED.slug
        assert await moved.say("hi", "do.say").answered() == Accepted(4)


@virtual
async def test_a_join_that_comes_late_does_not_bring_back_who_has_left() -> None:
    async with world() as w:
        ann = Person(w, w.node(Workshop), "ann")
        enter = ann.enter()
        await ann.leave().answered()
        assert enter.welcome
        late = ann.again(enter)
        await late.answered()
        assert late.denied.code == Code.NOT_JOINED.slug
        assert list(w.folded().presence) == []


@virtual
async def test_a_list_of_members_holds_at_its_seq_whoever_joins_after_it() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann, bob = Person(w, node, "ann"), Person(w, node, "bob")
        node.log.may_write.clear()
        ann.enter()
        who = ann.who()
        bob.enter()
        both = bob.who()
        node.log.may_write.set()
        await both.answered()
        joined = {
            frame["seq"]: [one["user"] for one in frame["data"]["joined"]] for frame in w.frames()
        }
        assert joined == {1: ["ann"], 2: ["bob"]}
        assert (who.listing.seq, who.listing.members) == (1, (ann.member,))
        assert (both.listing.seq, both.listing.count) == (2, 2)


@virtual
async def test_a_welcome_brings_what_was_missed() -> None:
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        for text in ("a", "b", "c"):
            await ann.say(text).answered()
        bob = Person(w, node, "bob")
        enter = bob.enter(Since(after=2), ann.who().listing.epoch)
        await enter.answered()
        welcome = enter.welcome
        assert (welcome.start, welcome.seq, welcome.recovered, welcome.gap) == (2, 5, True, None)
        assert welcome.entries is not None
        assert [entry.seq for entry in welcome.entries] == [3, 4, 5]


@virtual
async def test_leaving_twice_is_refused_and_reasons_reach_the_author() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Door), "ann").entered()
        await ann.ask(Exit("timeout")).answered()
        assert w.said()[-1] == "timeout"
        assert ann.leave().denied.code == Code.NOT_JOINED.slug
