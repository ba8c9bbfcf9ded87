"""Questions to the broker and their answers: one inbox, one sweep for all deadlines."""

from asyncio import Future, TimerHandle, get_running_loop
from collections.abc import Callable
from functools import partial
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


Told = Callable[[Answer | NoAnswer], None]
"""Called once with what became of a question: must not raise."""


class _Waiting(Struct):
    """`told` hears the last answer. Of a series, `before` collects the others, each of which may
    take `stall_s` after the one before it."""

    told: Told
    deadline: float
    stall_s: float = 0.0
    before: list[Answer] = []


class Requests:
    """The open questions of one connection. Each is bounded by its deadline."""

    def __init__(self, post: Post, inbox: str) -> None:
        """`inbox`: the subject under which answers arrive, ending in a dot."""
        self._post, self._loop = post, get_running_loop()
        self._inbox = inbox.encode()
        self._tokens = count(1)
        self._waiting: dict[bytes, _Waiting] = {}
        self._sweeper: TimerHandle | None = None

    def ask(
        self, subject: bytes, payload: bytes, header: bytes | None, timeout_s: float, told: Told
    ) -> None:
        """Have `told` hear the answer; or that there is none, at once if too much is waiting."""
        self._send(subject, payload, header, _Waiting(told, self._loop.time() + timeout_s))

    async def one(
        self, subject: bytes, payload: bytes, header: bytes | None, timeout_s: float
    ) -> Answer:
        """The answer. Raises NoAnswer."""
        future: Future[Answer] = self._loop.create_future()
        self.ask(subject, payload, header, timeout_s, partial(_settle, future))
        return await future

    async def series(
        self, subject: bytes, payload: bytes, timeout_s: float, stall_s: float
    ) -> list[Answer]:
        """Answers in order, up to and including the one that bears a status. Raises NoAnswer.

        `timeout_s` bounds the wait for the first, `stall_s` that for each further one.
        """
        last: Future[Answer] = self._loop.create_future()
        deadline, before = self._loop.time() + timeout_s, list[Answer]()
        waiting = _Waiting(partial(_settle, last), deadline, stall_s, before)
        self._send(subject, payload, None, waiting)
        ending = await last
        return [*before, ending]

    def _send(
        self, subject: bytes, payload: bytes, header: bytes | None, waiting: _Waiting
    ) -> None:
        token = b"%x" % next(self._tokens)
        if not self._post(subject, payload, header, self._inbox + token):
            waiting.told(NoAnswer("too much is waiting to be sent"))
            return
        self._waiting[token] = waiting
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def heard(
        self, subject: bytes, reply: bytes | None, header: bytes | None, payload: bytes
    ) -> None:
        """An answer has arrived; late ones find nobody waiting."""
        token = subject[len(self._inbox) :]
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            return
        if header is not None and not payload and header.startswith(NO_RESPONDERS):
            waiting.told(NobodyThere(subject.decode()))
        elif waiting.stall_s and not status(header):
            waiting.before.append((header, payload))
            waiting.deadline = self._loop.time() + waiting.stall_s
            self._waiting[token] = waiting
        else:
            waiting.told((header, payload))

    def fail_all(self, reason: str) -> None:
        """The connection is gone: no answer will come to what was asked over it."""
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            one.told(NoAnswer(reason))

    def _sweep(self) -> None:
        now = self._loop.time()
        late = [token for token, waiting in self._waiting.items() if waiting.deadline <= now]
        for token in late:
            self._waiting.pop(token).told(NoAnswer("no answer in time"))
        more = self._waiting
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if more else None


def _settle(future: "Future[Answer]", outcome: Answer | NoAnswer) -> None:
    """Whoever waits for it may have given up."""
    if future.done():
        return
    if isinstance(outcome, NoAnswer):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
