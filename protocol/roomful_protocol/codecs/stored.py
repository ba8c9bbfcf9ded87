"""The log and the archive as bytes: blocks, snapshots and pages, as compact msgpack arrays.

Every record begins with the version of its format. What authors made (state, replies) is packed
on its own and nested as bytes: whatever `pack` takes then fits into any record.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import msgpack
from msgspec.structs import replace

from roomful_protocol.blocks import (
    EVERYONE,
    Audience,
    Block,
    Done,
    Entered,
    Entry,
    Exited,
    Heard,
    Member,
    Page,
    Snapshot,
)
from roomful_protocol.codecs.values import fields, pack, pack_ours, unpack, value_error

BLOCK_FORMAT: Final = 1
SNAPSHOT_FORMAT: Final = 1
PAGE_FORMAT: Final = 1

PIECE: Final = 64
"""So many entries, members or decisions are packed at once: a tenth of a millisecond's work."""

_T = TypeVar("_T")


def pack_block(block: Block) -> bytes:
    """`block` for the log. What hubs do not need is nested as bytes, which they do not unpack.

    Raises ValueError if the state or a reply holds what cannot be stored.
    """
    rest = (
        block.term,
        block.writer,
        block.number,
        block.count,
        [_change_out(change) for change in block.members] if block.members else (),
        _state_out(block.state),
        block.removed,
        _dones_out(block.done),
    )
    heard = (block.epoch, block.first, block.ts, entries_out(block.entries))
    return pack_ours((BLOCK_FORMAT, *heard, pack_ours(rest)))


@value_error
def unpack_block(data: bytes) -> Block:
    """The block in a record of the log. Raises ValueError if there is none."""
    _, epoch, first, ts, entries, rest = fields(data, BLOCK_FORMAT, "block")
    term, writer, number, count, members, state, removed, done = unpack(rest)
    return Block(
        term=term,
        writer=writer,
        number=number,
        epoch=epoch,
        first=first,
        ts=ts,
        count=count,
        entries=entries_in(entries),
        members=tuple([_change_in(change) for change in members]),
        state=_state_in(state),
        removed=tuple(removed),
        done=_dones_in(done),
    )


@value_error
def unpack_heard(data: bytes) -> Heard:
    """What a hub needs of the block in `data`. Raises ValueError if there is no block."""
    _, epoch, first, ts, entries, _rest = fields(data, BLOCK_FORMAT, "block")
    return Heard(epoch, first, ts, entries_in(entries))


def snapshot_pieces(snapshot: Snapshot) -> Iterator[bytes]:
    """`snapshot` for the archive, in pieces to be joined: there may be much of it.

    Raises ValueError if it holds what cannot be stored.
    """
    pages = pages_out(snapshot.pages)
    head = (SNAPSHOT_FORMAT, snapshot.position, snapshot.epoch, snapshot.seq, snapshot.ts, pages)
    yield _header(len(head) + 3) + b"".join(map(pack, head))
    yield _header(len(snapshot.members))
    yield from _items(members_out, snapshot.members)
    yield cast("bytes", msgpack.Packer().pack_map_header(len(snapshot.state)))
    for key, value in snapshot.state.items():
        yield pack(key) + pack(pack(value))
    yield _header(len(snapshot.known) + len(snapshot.done))
    yield from _items(_known_out, snapshot.known)
    yield from _items(_numbered_out, snapshot.done)


@value_error
def unpack_snapshot(data: bytes) -> Snapshot:
    """The snapshot in a blob of the archive. Raises ValueError if there is none."""
    record = fields(data, SNAPSHOT_FORMAT, "snapshot")
    _, position, epoch, seq, ts, pages, members, state, done = record
    return Snapshot(
        position=position,
        epoch=epoch,
        seq=seq,
        ts=ts,
        pages=pages_in(pages),
        members=members_in(members),
        state=_state_in(state),
        done=_dones_in(done),
    )


def page_pieces(entries: Sequence[Entry]) -> Iterator[bytes]:
    """A page of history for the archive, in pieces to be joined."""
    yield _header(2) + pack(PAGE_FORMAT) + _header(len(entries))
    yield from _items(entries_out, entries)


@value_error
def unpack_page(data: bytes) -> tuple[Entry, ...]:
    """The entries of a page of history. Raises ValueError if it is none."""
    _, entries = fields(data, PAGE_FORMAT, "page")
    return entries_in(entries)


def _items(out: Callable[[Sequence[_T]], list[object]], records: Sequence[_T]) -> Iterator[bytes]:
    """Records as they stand in an array, behind its header."""
    for start in range(0, len(records), PIECE):
        packed = out(records[start : start + PIECE])
        yield pack_ours(packed)[len(_header(len(packed))) :]


def _header(items: int) -> bytes:
    """The beginning of an array of so many items."""
    return cast("bytes", msgpack.Packer().pack_array_header(items))


# -- parts, shared with what nodes tell each other -------------------------------------------------


def entries_out(entries: Iterable[Entry]) -> list[object]:
    return [
        (entry.seq, entry.frame)
        if entry.audience is EVERYONE
        else (entry.seq, entry.frame, *audience_out(entry.audience))
        for entry in entries
    ]


def entries_in(packed: Any) -> tuple[Entry, ...]:
    # Nearly every entry is for everyone, and this runs for every event on every node.
    return tuple(
        [
            Entry(entry[0], entry[1])
            if len(entry) == 2
            else Entry(entry[0], entry[1], audience_in(*entry[2:]))
            for entry in packed
        ]
    )


def audience_out(audience: Audience) -> tuple[object, ...]:
    return (audience.users, audience.sessions, audience.skip)


def audience_in(users: Any, sessions: Any, skip: Any) -> Audience:
    return Audience(tuple(users), tuple(sessions), skip)


def pages_out(pages: Iterable[Page]) -> list[object]:
    return [(page.first, page.last) for page in pages]


def pages_in(packed: Any) -> tuple[Page, ...]:
    return tuple([Page(first, last) for first, last in packed])


def members_out(members: Iterable[Member]) -> list[object]:
    return [_member_out(member) for member in members]


def members_in(packed: Any) -> tuple[Member, ...]:
    return tuple([Member(*member) for member in packed])


def _member_out(member: Member) -> tuple[object, ...]:
    return (member.session, member.user, member.name, member.node, member.attach)


def value_out(value: object) -> bytes | None:
    return None if value is None else pack(value)


def value_in(packed: Any) -> Any:
    return None if packed is None else unpack(packed)


def _state_out(state: Mapping[str, object]) -> dict[str, bytes]:
    return {key: pack(value) for key, value in state.items()} if state else {}


def _state_in(packed: Any) -> dict[str, object]:
    return {key: unpack(value) for key, value in packed.items()}


def _dones_out(dones: Iterable[Done]) -> list[object]:
    # Without a reply, which nearly none has, a decision is packed as it is.
    return [done if done.data is None else replace(done, data=pack(done.data)) for done in dones]


def _known_out(known: Iterable[Done]) -> list[object]:
    # A busy room's snapshot has thousands of these, nearly none of which has a reply.
    return [
        (
            done.session, "", 0, done.user, done.id,
            done.seq, None if done.data is None else pack(done.data), done.denied,
        )
        for done in known
    ]  # fmt: skip


def _numbered_out(numbered: Iterable[Done]) -> list[object]:
    return [
        (
            done.session, done.attach, done.n, done.user, None,
            done.seq, None if done.data is None else pack(done.data), done.denied,
        )
        for done in numbered
    ]  # fmt: skip


def _dones_in(packed: Any) -> tuple[Done, ...]:
    return tuple([_done_in(*done) for done in packed])


def _done_in(session: Any, attach: Any, n: Any, user: Any, id: Any, *rest: Any) -> Done:
    seq, data, denied = rest
    refused = None if denied is None else (denied[0], denied[1])
    return Done(session, attach, n, user, id, seq, value_in(data), refused)


def _change_out(change: Entered | Exited) -> tuple[object, ...]:
    match change:
        case Entered(member, moved):
            return (_member_out(member), moved)
        case Exited(session, reason):
            return (session, reason)


def _change_in(packed: Any) -> Entered | Exited:
    who, what = packed
    return Exited(who, what) if isinstance(who, str) else Entered(Member(*who), what)
