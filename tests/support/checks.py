"""What must be true of every client's history, whatever happened to the cluster."""

from collections.abc import Iterable

from tests.support.wire import Json, Wire


def check_contiguous(events: Iterable[Json], after: int) -> int:
    """Every event follows the one before (`prev`, or else seq - 1): no hole, no double, no
    reordering. Returns the last seq."""
    last = after
    for event in events:
        assert event.get("prev", event["seq"] - 1) == last, f"{event} after seq {last}"
        assert event["seq"] > last
        last = event["seq"]
    return last


def check_same_order(room: str, *wires: Wire) -> None:
    """What two clients both heard is the same."""
    heard = [{e["seq"]: (e["type"], e["data"]) for e in wire.events(room)} for wire in wires]
    for one in heard:
        for other in heard:
            for seq in one.keys() & other.keys():
                assert one[seq] == other[seq]


def check_acked_once(texts: Iterable[str], acked: Iterable[str]) -> None:
    """Every acknowledged text is there, and no text is there twice."""
    listed = list(texts)
    assert len(listed) == len(set(listed)), "a message took effect twice"
    missing = set(acked) - set(listed)
    assert not missing, f"acknowledged but lost: {sorted(missing)[:5]}"
