"""A log that has forgotten something is another history, and says so by its epoch."""

import pytest
from tests.support.hosting import ROOM, Person, World, world
from tests.support.virtual_time import until, virtual

from roomful_protocol.messages import MOVED, Accepted
from roomful_rooms.epochs import Epochs
from roomful_rooms.recovery import Recovered

NEW = "freshly-made"


def epochs(incarnation: str = "") -> Epochs:
    return Epochs(lambda: NEW, incarnation)


def held(epoch: str | None, *, whole: bool = True) -> Recovered:
    return Recovered(epoch=epoch, whole=whole)


def forget(w: World, records: int) -> None:
    """What a broker does whose disk lost the end of the log."""
    for _ in range(records):
        w.store.records[ROOM].pop()


def epochs_of(w: World) -> list[str]:
    return list(dict.fromkeys(block.epoch for block in w.blocks()))


def test_a_room_goes_on_in_the_epoch_of_its_log() -> None:
    assert epochs().of(ROOM, held("k3f9")) == "k3f9"
    assert epochs("b2").of(ROOM, held("k3f9-b2")) == "k3f9-b2"


@pytest.mark.parametrize("before", [None, "k3f9", "k3f9-a1"])
def test_a_store_that_may_have_forgotten_begins_new_epochs(before: str | None) -> None:
    assert epochs("b2").of(ROOM, held(before)) == "freshly--b2"


def test_a_store_that_knows_of_no_loss_does_not_go_on_with_one_that_did() -> None:
    assert epochs().of(ROOM, held("k3f9-a1")) == "freshly-"


def test_a_log_with_a_hole_begins_a_new_epoch() -> None:
    assert epochs().of(ROOM, held("k3f9", whole=False)) == "freshly-"


def test_a_log_known_to_be_shortened_begins_one_new_epoch() -> None:
    known = epochs()
    known.shortened(ROOM)
    assert known.of(ROOM, held("k3f9")) == "freshly-"
    assert known.of("other", held("k3f9")) == "k3f9"
    known.begun(ROOM)
    assert known.of(ROOM, held("n3w")) == "n3w"


@virtual
async def test_a_room_whose_log_was_shortened_goes_on_in_a_new_epoch() -> None:
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        for text in ("a", "b", "c"):
            assert isinstance(await ann.say(text).answered(), Accepted)
        forget(w, 2)
        refused = ann.say("d")
        assert await refused.answered() == MOVED
        await until(lambda: len(epochs_of(w)) == 2)
        assert isinstance(await ann.again(refused).answered(), Accepted)
        assert w.said() == ["a", "d"]
        assert len(epochs_of(w)) == 2
