"""The bus on NATS: core publish and subscribe, where nothing is stored."""

from collections.abc import Callable, Sequence
from re import compile as pattern
from typing import Final

from roomful_nodes.bus import MAX_PAYLOAD, Message
from roomful_nodes.nats_connection import NatsConnection, NatsFollowing
from roomful_nodes.nats_wire import NO_RESPONDERS

# Subjects hold ids that came from outside: no white space may get into the protocol's lines.
_SENDABLE: Final = pattern(r"[!-~]+").fullmatch


class NatsBus:
    """One node's `Bus`. Own messages are not heard, because the connection asks for no echo."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    @property
    def connected(self) -> bool:
        return self._connection.connected

    @property
    def losses(self) -> int:
        return self._connection.losses

    def publish(self, subject: str, payload: bytes, reply: str | None = None) -> None:
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"a message has at most {MAX_PAYLOAD} bytes, not {len(payload)}")
        back = b"" if reply is None else _sendable(reply)
        self._connection.publish(_sendable(subject), payload, None, back)

    async def subscribe(self, subject: str, heard: Callable[[Message], None]) -> NatsFollowing:
        [following] = await self.subscribe_all([subject], heard)
        return following

    async def subscribe_all(
        self, subjects: Sequence[str], heard: Callable[[Message], None]
    ) -> list[NatsFollowing]:
        def hear(at: bytes, reply: bytes | None, header: bytes | None, payload: bytes) -> None:
            undelivered = header is not None and header.startswith(NO_RESPONDERS)
            back = None if reply is None else reply.decode()
            heard(Message(at.decode(), payload, back, undelivered))

        names = [_sendable(subject).decode() for subject in subjects]
        return await self._connection.listen_all(names, hear)


def _sendable(subject: str) -> bytes:
    if not _SENDABLE(subject):
        raise ValueError(f"not a subject: {subject!r}")
    return subject.encode()
