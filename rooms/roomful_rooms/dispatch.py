"""From a command to the author's handler: what is asked of the room, and what is checked first."""

from roomful_protocol.blocks import Entered, Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.messages import Ask, Command, Enter, Exit, Say, Sender
from roomful_rooms.effects import Gone
from roomful_rooms.ledger import newer
from roomful_rooms.room import Message, Room


def begin(room: Room, command: Command, member: Member | None) -> object:
    """Start the room's handler for `command`, in the turn that its context holds. `member`: the
    sender's session as it is in the room, if it is.

    Returns what the handler returned, which may have to be awaited. Raises what it raises, and
    Refused where the room's own rules forbid the command.
    """
    say = command.ask
    if not isinstance(say, Say):
        return _move(room, say, command.sender, member)
    if member is None:
        if not say.operator:
            raise Refused(Code.NOT_JOINED, f"Join {room.name} before sending to it.")
        member = member_of(command.sender)
    handler = room.handler_by_type[say.type]
    if handler is None:
        raise Refused(Code.BAD_TYPE, f"{room.name} does not take messages of type {say.type}.")
    message = Message(say.type, say.data, member, say.id, say.to, say.ephemeral, say.echo)
    return handler(room, message)


def _move(room: Room, ask: Ask, sender: Sender, member: Member | None) -> object:
    if isinstance(ask, Enter):
        return _enter(room, sender, member)
    if isinstance(ask, Exit):
        return _exit(room, sender, member, ask.reason)
    raise AssertionError("reading needs no handler")


def _enter(room: Room, sender: Sender, before: Member | None) -> object:
    presence, turn, member = room.members, room.context.turn, member_of(sender)
    if before == member:
        return None
    turn.before = {member.session: before}
    turn.changes = (Entered(member, moved=before is not None),)
    presence.enter(member)
    if before is not None:
        return None
    if room.capacity is not None and len(presence) > room.capacity:
        raise Refused(Code.ROOM_FULL, f"{room.name} is full ({room.capacity} members).")
    return room.on_join(member)


def _exit(room: Room, sender: Sender, member: Member | None, reason: str) -> object:
    presence, turn = room.members, room.context.turn
    # The attachment tells a leave of the gateway that has the session from one that had it once.
    ours = member is not None and (
        member.attach == sender.attach or newer(sender.attach, member.attach)
    )
    if member is None or not ours:
        raise Refused(Code.NOT_JOINED, f"You are not in {room.name}.")
    turn.before = {member.session: member}
    turn.changes = (Gone(member, reason),)
    presence.exit(member.session)
    return room.on_leave(member, reason)


def member_of(sender: Sender) -> Member:
    return Member(sender.session, sender.user, sender.name, sender.node, sender.attach)
