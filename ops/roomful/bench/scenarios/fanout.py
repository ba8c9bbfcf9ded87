"""One room in which 16 of the members speak as fast as everybody hears it."""

from collections.abc import Iterator
from typing import Final

from roomful.bench.measure import Reading
from roomful.bench.subject import Bench
from roomful.bench.tools import Load, Mode, Tools, Unusable

SIZE: Final = 100
MEMBERS: Final = (100, 1000)
HEADER: Final = 4
"""Bytes before the payload of a server's frame that has 126 or more."""
_HEARD: Final = ("--marker", "--lat-every", "8", "--warm", "0.7", "--dur", "2", "--drain", "5")
FLOOD: Final = ("--pubs", "16", "--window", "16", *_HEARD)
ONE_BY_ONE: Final = ("--pubs", "1", "--window", "1", *_HEARD)
_SAID: Final = '{"type":"chat.message","data":{"p":"{P}"}}'
_JOIN: Final = (
    "--path", "/ws?room=bench&name={i}", "--expect", '"type":"joined"', "--msg", _SAID,
)  # fmt: skip


def once(bench: Bench) -> Iterator[Reading]:
    if (tools := bench.tools) is None:
        raise Unusable("It needs the load generator in C: say --tools DIR.")
    for members in MEMBERS:
        yield _flood(bench, tools, members)
    for members in MEMBERS:
        yield _one_by_one(bench, tools, members)


def _flood(bench: Bench, tools: Tools, members: int) -> Reading:
    """Deliveries per second, beside C with the payload alone and with frames as long as ours."""
    with bench.node() as node:
        ours = tools.load(node, *_room(members, SIZE), *FLOOD, *_JOIN)
    framed = round(ours["mb_per_s"] * 1e6 / ours["deliv_per_s"]) - HEADER
    same = _ceiling(bench, tools, "tick", members, framed, FLOOD)
    bare = _ceiling(bench, tools, "tick", members, SIZE, FLOOD)
    direct = _ceiling(bench, tools, "direct", members, SIZE, FLOOD)
    ceilings = {"C tick, same bytes": same, "C tick": bare, "C direct": direct}
    return _reading(f"fan-out, {members:,} members", ours, ceilings, framed)


def _one_by_one(bench: Bench, tools: Tools, members: int) -> Reading:
    with bench.node() as node:
        ours = tools.load(node, *_room(members, SIZE), *ONE_BY_ONE, *_JOIN)
    direct = _ceiling(bench, tools, "direct", members, SIZE, ONE_BY_ONE)
    return _reading(f"one message at a time, {members:,} members", ours, {"C direct": direct}, 0)


def _room(members: int, size: int) -> tuple[str, ...]:
    return "-n", str(members), "--size", str(size)


def _ceiling(
    bench: Bench, tools: Tools, mode: Mode, members: int, size: int, options: tuple[str, ...]
) -> Load:
    with bench.ceiling(mode) as server:
        return tools.load(server, *_room(members, size), *options)


def _reading(figure: str, ours: Load, ceilings: dict[str, Load], framed: int) -> Reading:
    return Reading(
        figure,
        "deliveries/s",
        ours["deliv_per_s"],
        {name: load["deliv_per_s"] for name, load in ceilings.items()},
        max(load["foreign_cpu"] for load in (ours, *ceilings.values())),
        {
            "p50_us": ours["p50_us"],
            "p99_us": ours["p99_us"],
            "cpu_us_per_delivery": ours["us_per_deliv"],
            "server_cores": ours["server_cpu"],
            "messages_per_s": ours["pub_per_s"],
            "frame_bytes": framed,
        }
        | {f"{name}: cpu_us_per_delivery": load["us_per_deliv"] for name, load in ceilings.items()},
        any(load["stalls"] for load in (ours, *ceilings.values())),
    )
