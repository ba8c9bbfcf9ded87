"""The contract of `Log`, on every twin: two nodes, one store of records."""

import asyncio
from functools import partial

import pytest
from tests.support.twins import until

from roomful_protocol.ids import partition_of
from roomful_rooms.log import Conflict, Log, Record

pytest_plugins = ["tests.support.nats_server"]

Logs = tuple[Log, Log]
ROOM = "lobby"
EXOTIC = (
    "a.b.c", "with space", "*", ">", "_", "_x", "tab\there", "line\nbreak", "ümläut", "日本語",
    "🎉" * 128, "x" * 128, ".", "..", "$JS.API", "a\u0000b", "-", "CON", "a/b\\c",
)  # fmt: skip


async def filled(log: Log, room: str, *data: bytes) -> list[int]:
    """Append one after the other; their positions."""
    positions = [0]
    for one in data:
        positions.append(await log.append(room, one, positions[-1]))
    return positions[1:]


async def test_an_appended_record_is_the_last_for_every_node(logs: Logs) -> None:
    a, b = logs
    position = await a.append(ROOM, b"one", 0)
    assert position > 0
    assert await a.last(ROOM) == await b.last(ROOM) == Record(ROOM, position, b"one")


async def test_a_room_without_records_has_no_last_and_nothing_to_read(logs: Logs) -> None:
    a, _ = logs
    assert await a.last("empty") is None
    assert await a.read("empty", 0, 10) == []


async def test_positions_of_a_room_grow(logs: Logs) -> None:
    a, _ = logs
    await a.append("another", b"x", 0)
    positions = await filled(a, ROOM, b"1", b"2", b"3")
    assert positions == sorted(set(positions))


async def test_who_does_not_know_the_last_record_is_fenced(logs: Logs) -> None:
    a, b = logs
    first = await a.append(ROOM, b"old owner", 0)
    second = await b.append(ROOM, b"new owner", first)
    with pytest.raises(Conflict):
        await a.append(ROOM, b"zombie", first)
    assert await a.last(ROOM) == Record(ROOM, second, b"new owner")


async def test_the_first_append_to_a_room_with_records_is_fenced(logs: Logs) -> None:
    a, b = logs
    await a.append(ROOM, b"one", 0)
    with pytest.raises(Conflict):
        await b.append(ROOM, b"also first", 0)


async def test_an_append_after_a_record_that_the_log_has_lost_is_fenced(logs: Logs) -> None:
    a, _ = logs
    first = await a.append(ROOM, b"one", 0)
    with pytest.raises(Conflict):
        await a.append(ROOM, b"two", first + 1000)


async def attempted(log: Log, data: bytes, after: int) -> int | None:
    """What a single attempt is told."""
    told: list[int | None] = []
    log.attempt(ROOM, data, after, told.append)
    await until(lambda: bool(told))
    [position] = told
    return position


async def test_an_attempt_tells_where_the_record_is(logs: Logs) -> None:
    a, b = logs
    first = await attempted(a, b"one", 0)
    assert first is not None
    second = await attempted(b, b"two", first)
    assert second is not None
    assert await a.read(ROOM, 0, 10) == [
        Record(ROOM, first, b"one"), Record(ROOM, second, b"two"),
    ]  # fmt: skip


async def test_many_attempts_in_one_turn_are_each_told_their_own(logs: Logs) -> None:
    a, b = logs
    told: dict[str, int | None] = {}
    rooms = [f"r{n}" for n in range(100)]
    for room in rooms:
        a.attempt(room, room.encode(), 0, partial(told.__setitem__, room))
    await until(lambda: len(told) == len(rooms))
    for room in rooms:
        newest = await b.last(room)
        assert newest == Record(room, told[room] or 0, room.encode())


async def test_an_attempt_that_comes_too_late_is_told_nothing(logs: Logs) -> None:
    a, b = logs
    first = await a.append(ROOM, b"old owner", 0)
    second = await b.append(ROOM, b"new owner", first)
    assert await attempted(a, b"zombie", first) is None
    with pytest.raises(Conflict):
        await a.append(ROOM, b"zombie", first)
    assert await a.last(ROOM) == Record(ROOM, second, b"new owner")


async def test_an_append_of_what_an_attempt_has_written_finds_it(logs: Logs) -> None:
    a, b = logs
    first = await attempted(a, b"one", 0)
    assert await a.append(ROOM, b"one", 0) == first
    second = await b.append(ROOM, b"two", first or 0)
    assert await a.append(ROOM, b"one", 0) == first
    assert [record.position for record in await b.read(ROOM, 0, 10)] == [first, second]


async def test_one_of_many_rivals_wins(logs: Logs) -> None:
    tries = [logs[n % 2].append(ROOM, b"rival %d" % n, 0) for n in range(20)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    won = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(won) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19
    last = await logs[0].last(ROOM)
    assert last is not None
    assert last.position == won[0]


async def test_rooms_do_not_fence_each_other(logs: Logs) -> None:
    a, b = logs
    rooms = [f"room-{n}" for n in range(50)]
    await asyncio.gather(*(filled((a, b)[n % 2], room, b"1", b"2") for n, room in enumerate(rooms)))
    for room in rooms:
        assert [record.data for record in await a.read(room, 0, 10)] == [b"1", b"2"]


async def test_reading_starts_past_a_position_and_keeps_the_order(logs: Logs) -> None:
    a, b = logs
    data = [b"%d" % n for n in range(30)]
    positions = await filled(a, ROOM, *data)
    read = await b.read(ROOM, positions[9], 100)
    assert [record.data for record in read] == data[10:]
    assert [record.position for record in read] == positions[10:]
    assert all(record.room == ROOM for record in read)


async def test_reading_stops_at_its_limit(logs: Logs) -> None:
    a, b = logs
    await filled(a, ROOM, *[b"%d" % n for n in range(10)])
    assert [record.data for record in await b.read(ROOM, 0, 4)] == [b"0", b"1", b"2", b"3"]


async def test_reading_past_the_end_finds_nothing(logs: Logs) -> None:
    a, _ = logs
    positions = await filled(a, ROOM, b"1", b"2")
    assert await a.read(ROOM, positions[-1], 10) == []
    assert await a.read(ROOM, positions[-1] + 1000, 10) == []


async def test_reading_many_large_records_is_whole(logs: Logs) -> None:
    a, b = logs
    data = [bytes([n]) * 250_000 for n in range(40)]
    await filled(a, ROOM, *data)
    assert [record.data for record in await b.read(ROOM, 0, 100)] == data


async def test_empty_and_binary_records_come_back_as_they_were(logs: Logs) -> None:
    a, b = logs
    data = [bytes(range(256)), b"\r\n", b"MSG x 1 5\r\nhello\r\n", b"\0"]
    await filled(a, ROOM, *data)
    assert [record.data for record in await b.read(ROOM, 0, 10)] == data


@pytest.mark.parametrize("room", EXOTIC)
async def test_any_name_is_a_room(logs: Logs, room: str) -> None:
    a, b = logs
    heard: list[Record] = []
    await b.follow(room, heard.append)
    position = await a.append(room, b"one", 0)
    record = Record(room, position, b"one")
    assert await b.last(room) == record
    assert await b.read(room, 0, 5) == [record]
    assert await b.rooms(partition_of(room)) == [record]
    await until(lambda: heard == [record])


async def test_a_partition_lists_the_newest_record_of_each_of_its_rooms(logs: Logs) -> None:
    a, b = logs
    rooms = [f"r{n}" for n in range(200)]
    partition = partition_of(rooms[0])
    mine = [room for room in rooms if partition_of(room) == partition] + [rooms[0]]
    for room in dict.fromkeys([*rooms[:20], *mine]):
        await filled(a, room, b"old", b"new " + room.encode())
    listed = {record.room: record.data for record in await b.rooms(partition)}
    assert listed == {room: b"new " + room.encode() for room in mine}


async def test_an_empty_partition_lists_nothing(logs: Logs) -> None:
    a, _ = logs
    await a.append(ROOM, b"one", 0)
    assert await a.rooms((partition_of(ROOM) + 16) % 256) == []


async def test_a_partition_may_have_thousands_of_rooms(logs: Logs) -> None:
    a, b = logs
    wanted = partition_of(ROOM)
    names = (f"n{n}" for n in range(10**7))
    rooms: list[str] = []
    while len(rooms) < 1500:
        name = next(names)
        if partition_of(name) == wanted:
            rooms.append(name)
    for start in range(0, len(rooms), 250):
        chunk = rooms[start : start + 250]
        await asyncio.gather(*(a.append(room, room.encode(), 0) for room in chunk))
    listed = {record.room: record.data for record in await b.rooms(wanted)}
    assert listed == {room: room.encode() for room in rooms}


async def test_followers_hear_all_records_in_order(logs: Logs) -> None:
    a, b = logs
    heard_by_a: list[Record] = []
    heard_by_b: list[Record] = []
    await a.follow(ROOM, heard_by_a.append)
    await b.follow(ROOM, heard_by_b.append)
    data = [b"%d" % n for n in range(100)]
    positions = await filled(a, ROOM, *data)
    expected = [Record(ROOM, *pair) for pair in zip(positions, data, strict=True)]
    await until(lambda: len(heard_by_a) == len(heard_by_b) == 100)
    assert heard_by_a == heard_by_b == expected


async def test_followers_hear_only_their_room_and_only_from_now_on(logs: Logs) -> None:
    a, b = logs
    first = await a.append(ROOM, b"before", 0)
    heard: list[bytes] = []
    await b.follow(ROOM, lambda record: heard.append(record.data))
    await a.append("another", b"elsewhere", 0)
    await a.append(ROOM, b"after", first)
    await until(lambda: bool(heard))
    assert heard == [b"after"]


async def test_a_refused_append_is_not_heard(logs: Logs) -> None:
    a, b = logs
    heard: list[bytes] = []
    await b.follow(ROOM, lambda record: heard.append(record.data))
    first = await a.append(ROOM, b"one", 0)
    with pytest.raises(Conflict):
        await a.append(ROOM, b"refused", 0)
    await a.append(ROOM, b"two", first)
    await until(lambda: len(heard) == 2)
    assert heard == [b"one", b"two"]


async def test_a_closed_follower_hears_nothing_more(logs: Logs) -> None:
    a, b = logs
    closed: list[Record] = []
    open_still: list[Record] = []
    following = await b.follow(ROOM, closed.append)
    await b.follow(ROOM, open_still.append)
    await following.close()
    await following.close()
    await a.append(ROOM, b"one", 0)
    await until(lambda: bool(open_still))
    assert closed == []


async def test_a_follower_that_raises_hears_the_next_record_all_the_same(logs: Logs) -> None:
    a, b = logs
    heard: list[bytes] = []

    def hear(record: Record) -> None:
        heard.append(record.data)
        raise RuntimeError("on purpose")

    await b.follow(ROOM, hear)
    await filled(a, ROOM, b"one", b"two")
    await until(lambda: len(heard) == 2)
    assert heard == [b"one", b"two"]


async def test_whoever_follows_in_mid_stream_hears_all_from_then_on(logs: Logs) -> None:
    a, b = logs
    heard: list[int] = []
    positions = [0]
    enough = asyncio.Event()

    async def write() -> None:
        while not enough.is_set():
            positions.append(await a.append(ROOM, b"%d" % len(positions), positions[-1]))

    writing = asyncio.create_task(write())
    await until(lambda: len(positions) > 20)
    await b.follow(ROOM, lambda record: heard.append(record.position))
    known = len(positions)
    await until(lambda: len(positions) > known + 50)
    enough.set()
    await writing
    await until(lambda: bool(heard) and heard[-1] == positions[-1])
    first = positions.index(heard[0])
    # One more was under way: stored before anybody followed, and known only afterwards.
    assert first <= known + 1
    assert heard == positions[first:]
