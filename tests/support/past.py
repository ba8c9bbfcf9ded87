"""Rooms with a long past, made in no time, for nodes that tests start: `--app past:KINDS`."""

from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.support.cluster import NodeProcess
from tests.support.raw import RawClient
from tests.support.wire import Wire

SIZE = 400
"""Bytes of padding in each event of the past."""
AT_ONCE = 500


def write_app(folder: Path) -> tuple[str, ...]:
    """The flags for a node started in `folder`, which knows rooms `past-*` and `short-*`: the
    latter keep few events."""
    program = f"""
        from roomful import Message, Room, on

        class Past(Room):
            history = 200_000

            @on("past.make")
            def make(self, message: Message) -> None:
                for _ in range(message.data):
                    self.broadcast("past.event", "x" * {SIZE})

            @on("past.say")
            def say(self, message: Message) -> None:
                self.broadcast("past.said", message.data)

        class Short(Past):
            history = 1_000

        KINDS = {{"past-*": Past, "short-*": Short}}
    """
    (folder / "past.py").write_text(dedent(program))
    return ("--app", "past:KINDS", "--limit-messages-per-s", "1e6", "--limit-burst", "1000000")


async def make_past(node: NodeProcess, room: str, events: int) -> tuple[str, int]:
    """Have `events` happen in `room`; its epoch, and the seq of the last one."""
    maker = await Wire.open(node.url, room=room, user="maker")
    joined = await maker.next("joined")
    answer = joined
    for _ in range(events // AT_ONCE):
        answer = await maker.ask({"type": "past.make", "room": room, "data": AT_ONCE}, 20)
        assert answer["type"] == "ack", answer
        maker.frames.clear()
    await maker.close()
    # An answer names the first event that came of the question.
    return joined["data"]["epoch"], answer["seq"] + AT_ONCE - 1


async def heard_up_to(client: RawClient, last: int, head: int) -> list[dict[str, Any]]:
    """Read until event `head` has come, each after the one before it (the first after `last`); all
    that was no event."""
    others = []
    while last < head:
        frame = await client.message()
        if "seq" in frame and frame["type"] in ("presence", "past.event", "past.said"):
            assert frame.get("prev", frame["seq"] - 1) == last, f"{frame['seq']} after {last}"
            last = frame["seq"]
        else:
            others.append(frame)
            if frame["type"] == "gap":
                last = frame["data"]["to"]
    return others
