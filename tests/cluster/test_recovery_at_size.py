"""Clients that have missed very much, or read very slowly: a real node, a real broker."""

import asyncio
from pathlib import Path

from tests.cluster.conftest import StartNode
from tests.support.bystander import undisturbed
from tests.support.cluster import NodeProcess, until
from tests.support.past import heard_up_to, make_past, write_app
from tests.support.raw import RawClient
from tests.support.wire import Wire

from roomful_client import Client, Gap

MISSED = 100_000
MEGABYTE = 1024 * 1024


def resident(node: NodeProcess) -> int:
    """Bytes of memory that the node's process has."""
    return int(Path(f"/proc/{node.pid}/statm").read_text().split()[1]) * 4096


async def counted(node: NodeProcess, metric: str) -> float:
    return (await node.metrics())[f"roomful_{metric}_total"]


async def test_a_hundred_thousand_missed_events(start_node: StartNode, tmp_path: Path) -> None:
    node = await start_node(*write_app(tmp_path))
    epoch, head = await make_past(node, "past-1", MISSED)
    before = resident(node)
    back = await RawClient.open(node.url, f"?room=past-1&user=ann&since=0&epoch={epoch}")
    speaker = await Wire.open(node.url, room="past-1", user="bob")
    await speaker.next("joined")
    # It stands still in the midst of the past, while life goes on.
    others = await heard_up_to(back, 0, 20_000)
    joined = next(frame["data"] for frame in others if frame["type"] == "joined")
    assert (joined["recovered"], joined["gap"]) == (True, None)
    end = head
    for number in range(50):
        end = (await speaker.ask({"type": "past.say", "data": number}))["seq"]
    assert resident(node) - before < 40 * MEGABYTE
    assert not await heard_up_to(back, 20_000, end)
    assert resident(node) - before < 40 * MEGABYTE
    live = await speaker.ask({"type": "past.say", "data": "live"})
    # Whoever made the past may have left by now, which is an event, too.
    assert not await heard_up_to(back, end, live["seq"])
    assert head < end

    async with Client(node.url, user="cid", capacity=100) as client:
        room, last = await client.join("past-1", since=0, epoch=epoch), 0
        async for event in room:
            assert not isinstance(event, Gap)
            assert event.seq is not None
            assert event.seq == last + 1
            last = event.seq
            if last == live["seq"]:
                break
    await speaker.close()
    await back.close()


async def test_what_is_not_kept_any_more_is_a_gap(start_node: StartNode, tmp_path: Path) -> None:
    node = await start_node(*write_app(tmp_path))
    epoch, head = await make_past(node, "short-1", 20_000)
    back = await RawClient.open(node.url, f"?room=short-1&user=ann&since=5&epoch={epoch}")
    joined = (await back.message(), await back.message())[1]["data"]
    assert not joined["recovered"]
    assert (joined["gap"]["from"], joined["gap"]["reason"]) == (6, "retention")
    assert head - 10_000 < joined["gap"]["to"] <= head - 1_000
    await heard_up_to(back, joined["gap"]["to"], joined["seq"])
    await back.close()


async def test_one_that_reads_nothing_costs_a_bounded_part_and_others_nothing(
    start_node: StartNode, tmp_path: Path
) -> None:
    node = await start_node(*write_app(tmp_path))
    fast = await RawClient.open(node.url, "?room=past-1&user=fast")
    assert (await fast.message(), await fast.message())[1]["data"]["seq"] == 1
    slow = [await RawClient.open(node.url, f"?room=past-1&user=slow{n}") for n in range(5)]
    reading = asyncio.ensure_future(heard_up_to(fast, 1, 40_000))
    before = resident(node)
    _, head = await undisturbed(node.url, make_past(node, "past-1", 40_000))
    await asyncio.wait_for(reading, 20)
    await heard_up_to(fast, 40_000, head)
    # Each has been sent 20 MB, and has taken hardly any of it.
    assert resident(node) - before < 60 * MEGABYTE
    lagging = await counted(node, "lagging")
    assert lagging >= 5
    for client in slow:
        joined = (await client.message(), await client.message())[1]["data"]
        others = await heard_up_to(client, joined["seq"], head)
        assert [frame["type"] for frame in others] == ["lagging"]

    async def all_live() -> bool:
        return await counted(node, "caught_up") == lagging

    await until(all_live, "all are live again")
    for client in (fast, *slow):
        await client.close()


async def test_ten_thousand_joins_at_once(start_node: StartNode) -> None:
    node = await start_node("--limit-connects-per-s", "1000")
    query = "?" + "&".join(f"room=crowd-{number}" for number in range(100))

    async def join() -> int:
        async def one() -> int:
            client = await RawClient.open(node.url, query)
            joined: set[str] = set()
            while len(joined) < 100:
                frame = await client.message()
                if frame["type"] == "joined":
                    joined.add(frame["room"])
            await client.close()
            return len(joined)

        async with asyncio.TaskGroup() as crowd:
            joining = [crowd.create_task(one()) for _ in range(100)]
        return sum(one.result() for one in joining)

    assert await undisturbed(node.url, join()) == 10_000
