"""The running room: a handler is a transaction, whatever goes wrong in it."""

import pytest
from tests.support.hosting import Person, world
from tests.support.virtual_time import virtual
from tests.support.workshop import DOES_NOT_HAPPEN, Workshop

from roomful_protocol.errors import Code
from roomful_protocol.messages import MOVED, Accepted, Denied
from roomful_rooms.actor import Limits
from roomful_rooms.room import Room

# -- transactions ----------------------------------------------------------------------------------


@virtual
async def test_what_a_handler_asks_for_is_in_one_block() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        asked = ann.say(1, "do.slow")
        await asked.answered()
        block = w.blocks()[-1]
        assert [frame["type"] for frame in w.frames()] == ["presence", "begun.it", "do.slow"]
        assert [entry.seq for entry in block.entries] == [2, 3]
        assert block.state == {"draft": 1}
        assert asked.accepted == Accepted(2, "begun")
        assert [done.n for done in block.done] == [2]


@pytest.mark.parametrize("what", DOES_NOT_HAPPEN)
@virtual
async def test_of_a_handler_that_fails_nothing_has_happened(what: str) -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        bob = await Person(w, ann.node, "bob").entered()
        failed = ann.say("x", f"do.{what}")
        await failed.answered()
        told = Code.TOO_BIG if what == "too_much" else Code.HANDLER_FAILED
        assert failed.denied.code == told.slug
        # And the room goes on.
        assert await bob.say("still here", "do.say").answered() == Accepted(3)
        assert w.said() == ["still here"]
        assert w.folded().state == {}


@virtual
async def test_a_refusal_is_told_as_it_is_and_leaves_no_trace() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        assert await ann.say(1, "do.this").answered() == Denied("forbidden", "No do.this.")
        assert await ann.say(1, "unknown.type").answered() == Denied(
            "bad_type", "lobby does not take messages of type unknown.type."
        )
        assert w.said() == []


@virtual
async def test_a_refusal_that_cannot_be_stored_as_it_is_harms_nobody() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        odd = ann.say(1, "do.refuse_oddly")
        again, fine = ann.again(odd), ann.say(2, "do.say")
        assert await fine.answered() == Accepted(2)
        assert odd.denied.message.startswith("odd ? xx")
        assert len(odd.denied.message) == 1000
        assert again.denied == odd.denied


@pytest.mark.parametrize("what", ["slow", "slow_failure"])
@virtual
async def test_a_handler_has_a_time_limit(what: str) -> None:
    async with world() as w:
        node = w.node(Workshop, limits=Limits(handler_s=2))
        ann = await Person(w, node, "ann").entered()
        late = ann.say(60, f"do.{what}")
        await late.answered(3)
        assert late.denied.code == Code.HANDLER_FAILED.slug
        assert "2 s" in late.denied.message
        assert w.folded().state == {}
        assert w.said() == []


@virtual
async def test_what_too_much_is_counts_ephemeral_events_too() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        asked = ann.say("ephemeral", "do.too_much")
        await asked.answered()
        assert asked.denied.code == Code.TOO_BIG.slug
        assert w.said() == []
        assert ann.node.lives == []


@virtual
async def test_what_is_kept_of_an_ephemeral_message_with_an_id_is_kept_once() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        counted = ann.say(None, "do.count", "some-id-of-her-own", ephemeral=True)
        assert await counted.answered() == Accepted(None, 1)
        assert await ann.again(counted).answered() == Accepted(None, 1, duplicate=True)
        assert w.folded().state == {"count": 1}
        # What is only passed on is not remembered: it comes again, if it is said again.
        typing = ann.say("hm", "do.say", "typing", ephemeral=True)
        assert await typing.answered() == Accepted()
        assert await ann.again(typing).answered() == Accepted()
        assert len(ann.node.lives) == 2


@virtual
async def test_an_ephemeral_event_whose_hearer_fails_does_not_concern_the_room() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()

        def broken(_room: str, _live: object) -> None:
            raise ValueError("the bus takes no message of this size")

        ann.node.host._actors["lobby"]._live = broken
        assert await ann.say("hm", "chat.typing", ephemeral=True).answered() == Accepted()
        assert await ann.say("hi").answered() == Accepted(2)


# -- the constructor -------------------------------------------------------------------------------


@virtual
async def test_a_room_whose_constructor_raises_ends_and_its_askers_ask_elsewhere() -> None:
    class Broken(Room):
        def __init__(self, context: object) -> None:
            raise RuntimeError("a bug")

    async with world() as w:
        ann = Person(w, w.node(Broken), "ann")
        assert await ann.enter().answered() == MOVED
        assert ann.node.host.rooms == 0


@virtual
async def test_what_a_constructor_sets_is_durable_even_if_the_first_handler_fails() -> None:
    class Opened(Workshop):
        def __init__(self, context: object) -> None:
            super().__init__(context)  # type: ignore[arg-type]
            self.state.setdefault("opened", True)

    async with world() as w:
        ann = Person(w, w.node(Opened), "ann")
        assert isinstance(await ann.say(1, "do.fail").answered(), Denied)
        assert w.folded().state == {"opened": True}
        await ann.node.host.close()
        written = len(w.blocks())
        await Person(w, w.node(Opened, term=2), "bob").entered()
        assert [dict(block.state) for block in w.blocks()[written:]] == [{}, {}]
