"""The contract of `Bus`, on every twin: at most once, in order, not to oneself, or bounced."""

import pytest
from tests.support.twins import until

from roomful_nodes.bus import MAX_PAYLOAD, Bus, Message
from roomful_protocol.subjects import Subjects

pytest_plugins = ["tests.support.nats_server"]

Buses = tuple[Bus, Bus]


async def heard_on(bus: Bus, subject: str) -> list[Message]:
    """What is heard from now on."""
    heard: list[Message] = []
    await bus.subscribe(subject, heard.append)
    return heard


@pytest.fixture
def base(subjects: Subjects) -> str:
    """The beginning of this test's subjects: the broker is shared."""
    return f"{subjects.prefix}x"


async def test_a_message_reaches_those_who_subscribe(buses: Buses, base: str) -> None:
    a, b = buses
    heard = await heard_on(b, f"{base}.cmd")
    a.publish(f"{base}.cmd", b"hello")
    await until(lambda: bool(heard))
    assert heard == [Message(f"{base}.cmd", b"hello")]


async def test_messages_of_one_sender_come_in_order(buses: Buses, base: str) -> None:
    a, b = buses
    heard = await heard_on(b, f"{base}.*")
    for n in range(1000):
        a.publish(f"{base}.{n % 3}", b"%d" % n)
    await until(lambda: len(heard) == 1000)
    assert [message.payload for message in heard] == [b"%d" % n for n in range(1000)]


async def test_own_messages_are_not_heard(buses: Buses, base: str) -> None:
    a, b = buses
    own = await heard_on(a, f"{base}.cmd")
    heard = await heard_on(b, f"{base}.cmd")
    a.publish(f"{base}.cmd", b"from a")
    b.publish(f"{base}.cmd", b"from b")
    await until(lambda: bool(own) and bool(heard))
    assert [message.payload for message in own] == [b"from b"]
    assert [message.payload for message in heard] == [b"from a"]


async def test_a_star_stands_for_one_token(buses: Buses, base: str) -> None:
    a, b = buses
    heard = await heard_on(b, f"{base}.*.end")
    for subject in ("one.end", "end", "one.two.end", "one.other", "two.end"):
        a.publish(f"{base}.{subject}", b"")
    await until(lambda: len(heard) == 2)
    assert [message.subject for message in heard] == [f"{base}.one.end", f"{base}.two.end"]


async def test_each_subscription_hears_a_message_once(buses: Buses, base: str) -> None:
    a, b = buses
    exact, wild, again = [await heard_on(b, f"{base}.{last}") for last in ("x", "*", "x")]
    a.publish(f"{base}.x", b"1")
    await until(lambda: bool(exact) and bool(wild) and bool(again))
    assert len(exact) == len(wild) == len(again) == 1


async def test_several_subscriptions_at_once_are_each_for_itself(buses: Buses, base: str) -> None:
    a, b = buses
    heard: list[Message] = []
    one, two, three = await b.subscribe_all([f"{base}.{last}" for last in "123"], heard.append)
    for last in "123":
        a.publish(f"{base}.{last}", b"")
    await until(lambda: len(heard) == 3)
    await two.close()
    for last in "213":
        a.publish(f"{base}.{last}", b"")
    await until(lambda: len(heard) == 5)
    assert [message.subject[-1] for message in heard] == ["1", "2", "3", "1", "3"]
    for one_of_them in (one, three):
        await one_of_them.close()


async def test_a_reply_subject_arrives_with_the_message(buses: Buses, base: str) -> None:
    a, b = buses
    answers = await heard_on(a, f"{base}.inbox.*")
    asked = await heard_on(b, f"{base}.ask")
    a.publish(f"{base}.ask", b"?", f"{base}.inbox.7")
    await until(lambda: bool(asked))
    assert asked[0].reply == f"{base}.inbox.7"
    b.publish(asked[0].reply or "", b"!")
    await until(lambda: bool(answers))
    assert answers == [Message(f"{base}.inbox.7", b"!")]


async def test_what_found_nobody_bounces(buses: Buses, base: str) -> None:
    a, b = buses
    bounced = await heard_on(a, f"{base}.bnc.*")
    elsewhere = await heard_on(b, f"{base}.bnc.*")
    a.publish(f"{base}.nobody", b"?", f"{base}.bnc.3")
    await until(lambda: bool(bounced))
    assert bounced == [Message(f"{base}.bnc.3", b"", undelivered=True)]
    assert elsewhere == []


async def test_what_only_oneself_listens_to_bounces(buses: Buses, base: str) -> None:
    a, _ = buses
    own = await heard_on(a, f"{base}.cmd")
    bounced = await heard_on(a, f"{base}.bnc.*")
    a.publish(f"{base}.cmd", b"?", f"{base}.bnc.1")
    await until(lambda: bool(bounced))
    assert bounced[0].undelivered
    assert own == []


async def test_what_somebody_heard_does_not_bounce(buses: Buses, base: str) -> None:
    a, b = buses
    bounced = await heard_on(a, f"{base}.bnc.*")
    heard = await heard_on(b, f"{base}.cmd")
    a.publish(f"{base}.cmd", b"?", f"{base}.bnc.1")
    a.publish(f"{base}.nobody", b"?", f"{base}.bnc.2")
    await until(lambda: bool(heard) and bool(bounced))
    assert [message.subject for message in bounced] == [f"{base}.bnc.2"]


async def test_what_asks_for_no_reply_does_not_bounce(buses: Buses, base: str) -> None:
    a, b = buses
    bounced = await heard_on(a, f"{base}.*")
    a.publish(f"{base}.nobody", b"")
    b.publish(f"{base}.end", b"")
    await until(lambda: bool(bounced))
    assert [message.subject for message in bounced] == [f"{base}.end"]


async def test_after_closing_nothing_is_heard_and_messages_bounce(buses: Buses, base: str) -> None:
    a, b = buses
    bounced = await heard_on(a, f"{base}.bnc.*")
    heard: list[Message] = []
    listening = await b.subscribe(f"{base}.cmd", heard.append)
    await listening.close()
    await listening.close()
    await heard_on(b, f"{base}.other")
    a.publish(f"{base}.cmd", b"?", f"{base}.bnc.1")
    await until(lambda: bool(bounced))
    assert bounced[0].undelivered
    assert heard == []


async def test_a_listener_that_raises_hears_the_next_message_all_the_same(
    buses: Buses, base: str
) -> None:
    a, b = buses
    heard: list[bytes] = []

    def hear(message: Message) -> None:
        heard.append(message.payload)
        raise RuntimeError("on purpose")

    await b.subscribe(f"{base}.cmd", hear)
    a.publish(f"{base}.cmd", b"1")
    a.publish(f"{base}.cmd", b"2")
    await until(lambda: len(heard) == 2)
    assert heard == [b"1", b"2"]


async def test_the_largest_payload_passes_and_one_byte_more_is_refused(
    buses: Buses, base: str
) -> None:
    a, b = buses
    heard = await heard_on(b, f"{base}.cmd")
    payload = bytes(range(256)) * (MAX_PAYLOAD // 256) + b"x" * (MAX_PAYLOAD % 256)
    a.publish(f"{base}.cmd", payload)
    with pytest.raises(ValueError, match="at most"):
        a.publish(f"{base}.cmd", payload + b"x")
    await until(lambda: bool(heard))
    assert heard[0].payload == payload


async def test_it_is_connected(buses: Buses) -> None:
    assert all(bus.connected for bus in buses)
