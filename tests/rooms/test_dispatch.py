"""What is checked before an author's handler runs, and what it is handed."""

import pytest

from roomful_protocol.blocks import Entered, Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import NEW, Target
from roomful_protocol.messages import Ask, Command, Enter, Exit, Read, Say, Sender
from roomful_rooms.clock import Clock
from roomful_rooms.dispatch import begin, member_of
from roomful_rooms.effects import Gone, Turn
from roomful_rooms.presence import Presence
from roomful_rooms.room import Context, Message, Room, on
from roomful_rooms.state import State

ANN = Sender("s1", "ann", "Ann", "n1", "a1")
BOB = Sender("s2", "bob", "Bob", "n1", "a2")
ENTER = Enter(NEW, None)


class Noting(Room):
    """Returns what it was handed."""

    capacity = 2

    def on_join(self, member: Member) -> object:
        assert member in list(self.members)
        return "joined", member

    def on_leave(self, member: Member, reason: str) -> object:
        assert member not in list(self.members)
        return "left", member, reason

    @on("chat.message")
    def said(self, message: Message) -> object:
        return message


def room(*members: Sender) -> Noting:
    presence = Presence(map(member_of, members))
    clock = Clock(lambda: 0.0, lambda: 0)
    return Noting(Context("lobby", State(), presence, clock, Turn()))


def asked(room: Room, sender: Sender, ask: Ask) -> object:
    return begin(room, Command("lobby", sender, ask, 0, 0), room.members.get(sender.session))


def refusal(room: Room, sender: Sender, ask: Ask) -> Code:
    with pytest.raises(Refused) as refused:
        asked(room, sender, ask)
    return refused.value.code


def test_a_join_is_tried_out_before_the_author_is_asked() -> None:
    lobby, ann = room(), member_of(ANN)
    assert asked(lobby, ANN, ENTER) == ("joined", ann)
    turn = lobby.context.turn
    assert turn.changes == (Entered(ann),)
    assert turn.before == {"s1": None}


def test_joining_again_changes_nothing_and_from_elsewhere_moves() -> None:
    lobby = room(ANN, BOB)
    assert asked(lobby, ANN, ENTER) is None
    assert lobby.context.turn == Turn()
    elsewhere = Sender("s1", "ann", "Ann", "n2", "a9")
    assert asked(lobby, elsewhere, ENTER) is None
    assert lobby.context.turn.changes == (Entered(member_of(elsewhere), moved=True),)
    assert lobby.context.turn.before == {"s1": member_of(ANN)}


def test_a_full_room_takes_nobody_and_can_be_as_it_was() -> None:
    lobby = room(ANN, BOB)
    assert refusal(lobby, Sender("s3", "cat", "Cat", "n1", "a3"), ENTER) is Code.ROOM_FULL
    lobby.members.restore(lobby.context.turn.before)
    assert list(lobby.members) == [member_of(ANN), member_of(BOB)]


def test_leaving_is_for_those_who_are_here_over_their_own_attachment() -> None:
    lobby, ann = room(ANN), member_of(ANN)
    assert refusal(lobby, BOB, Exit()) is Code.NOT_JOINED
    assert refusal(lobby, Sender("s1", "ann", "Ann", "n1", "a0"), Exit()) is Code.NOT_JOINED
    assert lobby.context.turn == Turn()
    assert asked(lobby, ANN, Exit("timeout")) == ("left", ann, "timeout")
    assert lobby.context.turn.changes == (Gone(ann, "timeout"),)
    assert lobby.context.turn.before == {"s1": ann}


def test_a_message_is_handed_over_as_it_was_asked() -> None:
    say = Say("chat.message", {"x": 1}, 7, None, (Target("user", "bob"),), True, echo=False)
    assert asked(room(ANN), ANN, say) == Message(
        "chat.message", {"x": 1}, member_of(ANN), 7, (Target("user", "bob"),), True, False
    )


def test_strangers_do_not_speak_but_operators_do() -> None:
    lobby = room(ANN)
    assert refusal(lobby, BOB, Say("chat.message", 1)) is Code.NOT_JOINED
    spoken = asked(lobby, BOB, Say("chat.message", 1, operator=True))
    assert isinstance(spoken, Message)
    assert spoken.sender == member_of(BOB)


def test_a_type_without_a_handler_is_refused() -> None:
    assert refusal(room(ANN), ANN, Say("poll.vote", 1)) is Code.BAD_TYPE


def test_reading_is_nothing_for_handlers() -> None:
    with pytest.raises(AssertionError):
        asked(room(ANN), ANN, Read())
