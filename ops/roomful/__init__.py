"""Roomful: what the author of a room imports."""

from roomful_protocol.blocks import Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import Target
from roomful_rooms.room import ChatRoom, Message, Room, on

__all__ = ["ChatRoom", "Code", "Member", "Message", "Refused", "Room", "Target", "on"]
