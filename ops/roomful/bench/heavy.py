"""A room that has to think: what is measured with it is the node's core, and little else."""

from roomful import Message, Room, on

STEPS = 8_000
"""Of pure Python, about a millisecond."""


class Heavy(Room):
    rooms = "heavy-*"

    @on("chat.message")
    def weigh(self, message: Message) -> None:
        thought = 1
        for step in range(STEPS):
            thought = (thought * 31 + step) % 65_521
        self.reply({"thought": thought})
