"""The Python client: joins rooms over one session and survives the loss of its connections.

async with Client("ws://localhost:8000", name="Ann") as client:
    room = await client.join("lobby", since="last:50")
    await room.send("chat.message", {"text": "hi"})
    async for event in room:
        print(event)
"""

from roomful_client.client import Client
from roomful_client.errors import RoomfulError
from roomful_client.events import Ack, Event, Gap, Listing, Message, Past, Person, Presence
from roomful_client.room import Room

__all__ = [
    "Ack", "Client", "Event", "Gap", "Listing", "Message", "Past", "Person", "Presence", "Room",
    "RoomfulError",
]  # fmt: skip
