"""The author's side: which handler takes a message, and what handlers may ask for."""

import pytest

from roomful_protocol.blocks import EVERYONE, Audience, Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import Target
from roomful_rooms.clock import Clock
from roomful_rooms.effects import Tell, Turn
from roomful_rooms.presence import Presence
from roomful_rooms.room import ChatRoom, Context, Message, Room, on
from roomful_rooms.state import State

ANN, ANN_2 = Member("s1", "ann", "Ann", "n1", "a1"), Member("s2", "ann", "Ann", "n2", "a2")
BOB = Member("s3", "bob", "Bob", "n1", "a3")


def made(kind: type[Room] = ChatRoom) -> tuple[Room, Turn]:
    turn = Turn()
    clock = Clock(lambda: 0.0, lambda: 1234)
    return kind(Context("lobby", State(), Presence([ANN, ANN_2, BOB]), clock, turn)), turn


def message(to: tuple[Target, ...] = (), **rest: bool) -> Message:
    return Message("chat.message", "hi", ANN, None, to, **rest)


# -- which handler ---------------------------------------------------------------------------------


class Poll(Room):
    @on("poll.vote", "poll.veto")
    def vote(self, message: Message) -> str:
        return "vote"

    @on("poll.*")
    def other(self, message: Message) -> str:
        return "other"

    @on("*")
    def anything(self, message: Message) -> str:
        return "anything"


@pytest.mark.parametrize(
    ("type", "name"),
    [
        ("poll.vote", "vote"),
        ("poll.veto", "vote"),
        ("poll.open", "other"),
        ("chat.message", "anything"),
    ],
)
def test_an_exact_type_wins_then_the_longest_pattern(type: str, name: str) -> None:
    room, _ = made(Poll)
    handler = room.handler(type)
    assert handler is not None
    assert handler(room, message()) == name


def test_without_a_handler_there_is_none() -> None:
    assert Room.handler("chat.message") is None
    assert ChatRoom.handler("chat.message") is not None


def test_a_subclass_inherits_adds_overrides_and_removes() -> None:
    class Secret(Poll):
        def vote(self, message: Message) -> str:
            return "secret"

        @on("poll.open")
        def open(self, message: Message) -> str:
            return "open"

        anything = None  # type: ignore[assignment]

    room, _ = made(Secret)
    found = {type: Secret.handler(type) for type in ("poll.vote", "poll.open", "poll.x", "chat.x")}
    answers = {type: one and one(room, message()) for type, one in found.items()}
    assert answers == {
        "poll.vote": "secret", "poll.open": "open", "poll.x": "other", "chat.x": None,
    }  # fmt: skip
    assert Poll.handlers["*"] is Poll.anything


def test_handlers_of_several_bases_come_together() -> None:
    class Dice:
        """Not a room by itself."""

        @on("dice.roll")
        def roll(self, message: Message) -> str:
            return "roll"

    class Board(Room):
        @on("board.move")
        def move(self, message: Message) -> str:
            return "move"

    class Game(Dice, Board, ChatRoom):
        pass

    assert set(Game.handlers) == {"dice.roll", "board.move", "*"}


def test_marks_add_up() -> None:
    class Both(Room):
        @on("a.b")
        @on("c.d")
        def either(self, message: Message) -> None: ...

    assert set(Both.handlers) == {"a.b", "c.d"}


# -- what a handler may ask for --------------------------------------------------------------------


def test_what_an_author_reads() -> None:
    room, _ = made()
    assert (room.name, room.now_ms, len(room.members)) == ("lobby", 1234, 3)
    assert list(room.state) == []


def test_a_broadcast_is_the_rooms_own() -> None:
    room, turn = made()
    room.broadcast("poll.opened", {"q": "?"})
    room.broadcast("poll.tick", ephemeral=True, skip=ANN)
    assert turn.tells == [Tell("poll.opened", {"q": "?"})]
    assert turn.lives == [Tell("poll.tick", None, audience=Audience(skip="s1"))]


def test_a_relay_is_the_senders_and_honours_what_the_sender_asked_for() -> None:
    room, turn = made()
    room.relay(message())
    room.relay(message(echo=False), data="other")
    room.relay(message(ephemeral=True))
    assert turn.tells == [
        Tell("chat.message", "hi", ANN, EVERYONE),
        Tell("chat.message", "other", ANN, Audience(skip="s1")),
    ]
    assert turn.lives == [Tell("chat.message", "hi", ANN, EVERYONE)]
    assert turn.delivered is None


@pytest.mark.parametrize(
    ("to", "echo", "audience", "reached"),
    [
        ([Target("user", "bob")], True, Audience(("bob", "ann"), ()), 1),
        ([Target("user", "bob")], False, Audience(("bob",), ()), 1),
        ([Target("session", "s3")], True, Audience(("ann",), ("s3",)), 1),
        ([Target("user", "ann"), Target("session", "s3")], False, Audience(("ann",), ("s3",)), 3),
    ],
)  # fmt: skip
def test_a_targeted_message_is_heard_by_its_targets_and_its_sender(
    to: list[Target], echo: bool, audience: Audience, reached: int
) -> None:
    room, turn = made()
    room.relay(message(tuple(to), echo=echo))
    assert turn.tells == [Tell("chat.message", "hi", ANN, audience)]
    assert turn.delivered == reached


def test_a_message_for_nobody_here_is_refused() -> None:
    room, turn = made()
    with pytest.raises(Refused) as refused:
        room.relay(message((Target("user", "zoe"),)))
    assert refused.value.code is Code.UNKNOWN_TARGET
    assert turn == Turn()


def test_sending_to_a_member_or_to_all_connections_of_a_user() -> None:
    room, turn = made()
    assert room.send(BOB, "your.turn", 1) == 1
    assert room.send("ann", "your.turn", 2) == 2
    assert room.send("zoe", "your.turn") == 0
    assert room.send(Member("gone", "bob", "Bob", "n1", "a"), "your.turn") == 0
    assert turn.tells == [
        Tell("your.turn", 1, None, Audience(sessions=("s3",))),
        Tell("your.turn", 2, None, Audience(users=("ann",))),
    ]


def test_the_last_reply_counts() -> None:
    room, turn = made()
    room.reply(1)
    room.reply(2)
    assert turn.reply == 2
