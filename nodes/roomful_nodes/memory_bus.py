"""Memory twin of the bus: for tests and simulation, several nodes on one `BusSwitch`."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from roomful_nodes.bus import MAX_PAYLOAD, Message
from roomful_rooms.memory_link import Link, Listener


class _Subscriber(Listener[Message]):
    """A listener, the bus it belongs to, and the tokens of its subject."""

    def __init__(
        self, bus: "MemoryBus", link: Link, subject: str, heard: Callable[[Message], None]
    ) -> None:
        super().__init__(link, heard, self._leave)
        self.bus = bus
        self._subject = subject
        self._tokens = subject.split(".")

    def matches(self, tokens: list[str]) -> bool:
        return len(tokens) == len(self._tokens) and all(
            mine in ("*", its) for mine, its in zip(self._tokens, tokens, strict=True)
        )

    def _leave(self) -> None:
        self.bus.switch.remove(self._subject, self)


class BusSwitch:
    """What the broker holds: who listens to which subject."""

    def __init__(self) -> None:
        self._exact: defaultdict[str, list[_Subscriber]] = defaultdict(list)
        self._wild: list[_Subscriber] = []

    def add(self, subject: str, subscriber: _Subscriber) -> None:
        if subscriber not in self._of(subject):
            self._of(subject).append(subscriber)

    def remove(self, subject: str, subscriber: _Subscriber) -> None:
        self._of(subject).remove(subscriber)
        if not self._exact.get(subject, True):
            del self._exact[subject]

    def listeners(self, subject: str) -> list[_Subscriber]:
        tokens = subject.split(".")
        wild = [subscriber for subscriber in self._wild if subscriber.matches(tokens)]
        return self._exact.get(subject, []) + wild

    def _of(self, subject: str) -> list[_Subscriber]:
        return self._wild if "*" in subject.split(".") else self._exact[subject]


class MemoryBus:
    """One node's `Bus` on a shared switch."""

    def __init__(self, switch: BusSwitch, link: Link | None = None) -> None:
        self.switch = switch
        self._link = link or Link()

    @property
    def connected(self) -> bool:
        return self._link.up

    @property
    def losses(self) -> int:
        return self._link.losses

    def publish(self, subject: str, payload: bytes, reply: str | None = None) -> None:
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"a message has at most {MAX_PAYLOAD} bytes, not {len(payload)}")
        self._link.send(partial(self._pass_on, subject, payload, reply))

    def _pass_on(self, subject: str, payload: bytes, reply: str | None) -> None:
        listeners = [
            one
            for one in self.switch.listeners(subject)
            if one.bus is not self and one.bus.connected
        ]
        for listener in listeners:
            listener.tell(Message(subject, payload, reply))
        if reply is not None and not listeners:
            self._bounce(reply)

    def _bounce(self, reply: str) -> None:
        for listener in self.switch.listeners(reply):
            if listener.bus is self:
                listener.tell(Message(reply, b"", undelivered=True))

    async def subscribe(self, subject: str, heard: Callable[[Message], None]) -> Listener[Message]:
        [subscriber] = await self.subscribe_all([subject], heard)
        return subscriber

    async def subscribe_all(
        self, subjects: Sequence[str], heard: Callable[[Message], None]
    ) -> list[Listener[Message]]:
        subscribers = [_Subscriber(self, self._link, subject, heard) for subject in subjects]

        def add() -> None:
            for subject, subscriber in zip(subjects, subscribers, strict=True):
                self.switch.add(subject, subscriber)

        await self._link.insist(add)
        return list(subscribers)
