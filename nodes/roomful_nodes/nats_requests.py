"""Questions to the broker and their answers: one inbox, one sweep for all deadlines."""

from asyncio import Future, TimerHandle, get_running_loop
from collections.abc import Callable
from itertools import count
from typing import Final

from msgspec import Struct

from roomful_nodes.nats_wire import NO_RESPONDERS, status

SWEEP_S: Final = 0.1
"""How late a deadline may be noticed."""

Answer = tuple[bytes | None, bytes]
"""Header block and payload."""

Post = Callable[[bytes, bytes, bytes | None, bytes], bool]
"""Publish subject, payload, header block and reply subject; False: dropped."""


class NoAnswer(Exception):
    """Nothing is known about what became of the request."""


class NobodyThere(NoAnswer):
    """The broker knows of nobody who would answer: a stream without leader, or none at all."""


class _Waiting(Struct):
    """`answers` collects a series; `stall_s` is how long the next one of it may take."""

    future: "Future[list[Answer]]"
    deadline: float
    answers: list[Answer]
    stall_s: float = 0.0


class Requests:
    """The open questions of one connection. Each is bounded by its deadline."""

    def __init__(self, post: Post, inbox: str) -> None:
        """`inbox`: the subject under which answers arrive, ending in a dot."""
        self._post = post
        self._inbox = inbox.encode()
        self._tokens = count(1)
        self._waiting: dict[bytes, _Waiting] = {}
        self._sweeper: TimerHandle | None = None

    async def one(
        self, subject: bytes, payload: bytes, header: bytes | None, timeout_s: float
    ) -> Answer:
        """The answer. Raises NoAnswer."""
        return (await self._asked(subject, payload, header, timeout_s, 0.0))[0]

    async def series(
        self, subject: bytes, payload: bytes, timeout_s: float, stall_s: float
    ) -> list[Answer]:
        """Answers in order, up to and including the one that bears a status. Raises NoAnswer.

        `timeout_s` bounds the wait for the first, `stall_s` that for each further one.
        """
        return await self._asked(subject, payload, None, timeout_s, stall_s)

    def _asked(
        self, subject: bytes, payload: bytes, header: bytes | None, timeout_s: float, stall_s: float
    ) -> "Future[list[Answer]]":
        loop = get_running_loop()
        token = b"%x" % next(self._tokens)
        future: Future[list[Answer]] = loop.create_future()
        if not self._post(subject, payload, header, self._inbox + token):
            future.set_exception(NoAnswer("too much is waiting to be sent"))
            return future
        self._waiting[token] = _Waiting(future, loop.time() + timeout_s, [], stall_s)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        return future

    def heard(
        self, subject: bytes, reply: bytes | None, header: bytes | None, payload: bytes
    ) -> None:
        """An answer has arrived; late ones find nobody waiting."""
        token = subject[len(self._inbox) :]
        waiting = self._waiting.get(token)
        if waiting is None:
            return
        if header is not None and not payload and header.startswith(NO_RESPONDERS):
            self._fail(token, NobodyThere(subject.decode()))
            return
        waiting.answers.append((header, payload))
        if waiting.stall_s and not status(header):
            waiting.deadline = get_running_loop().time() + waiting.stall_s
            return
        del self._waiting[token]
        if not waiting.future.done():
            waiting.future.set_result(waiting.answers)

    def fail_all(self, reason: str) -> None:
        """The connection is gone: no answer will come to what was asked over it."""
        for token in list(self._waiting):
            self._fail(token, NoAnswer(reason))

    def _fail(self, token: bytes, error: NoAnswer) -> None:
        future = self._waiting.pop(token).future
        if not future.done():
            future.set_exception(error)

    def _sweep(self) -> None:
        loop = get_running_loop()
        now = loop.time()
        late = [token for token, waiting in self._waiting.items() if waiting.deadline <= now]
        for token in late:
            self._fail(token, NoAnswer("no answer in time"))
        self._sweeper = loop.call_later(SWEEP_S, self._sweep) if self._waiting else None
