"""The same calls as `LeanClient` on nats-py as it is: for a version whose inside is not known.

Slower (a task per subscription, headers parsed and put together again), but through public names
only, so that an update of nats-py costs speed and not the cluster.
"""

from asyncio import Event, Queue, QueueFull, Task, create_task, sleep
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from structlog import get_logger

from roomful_nodes.nats_wire import Heard

WAITING: Final = 4096
"""Calls that may wait for their turn; beyond, what is published is dropped."""

Callback = Callable[[], Awaitable[None]]
log = get_logger(__name__)


class PlainClient(Client):
    """A client and one task that publishes and unsubscribes in the order of the calls."""

    single = False
    """Whether the broker is one server: that is not known here."""

    def __init__(self) -> None:
        super().__init__()
        self.back = Event()
        self._jobs: Queue[Callable[[], Awaitable[None]]] = Queue(WAITING)
        self._heard_by: dict[int, Subscription] = {}
        self._worker: Task[None] | None = None

    async def connect(self, *args: Any, **options: Any) -> None:
        options["disconnected_cb"] = self._then(self.back.clear, options["disconnected_cb"])
        options["reconnected_cb"] = self._then(self.back.set, options["reconnected_cb"])
        options["closed_cb"] = self._then(self.back.set, options["closed_cb"])
        await super().connect(*args, **options)
        self._worker = create_task(self._work(), name="nats-plain")
        self.back.set()

    @staticmethod
    def _then(first: Callable[[], None], second: Callback) -> Callback:
        async def both() -> None:
            first()
            await second()

        return both

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
        await super().close()

    def abort(self) -> None:
        """There is no public way: the socket goes with the client."""

    def post(self, subject: bytes, payload: bytes, header: bytes | None, reply: bytes) -> bool:
        fields = None if header is None else _fields(header)
        job = partial(self.publish, subject.decode(), payload, reply.decode(), fields)
        return self._later(job)

    def _later(self, job: Callable[[], Awaitable[None]]) -> bool:
        try:
            self._jobs.put_nowait(job)
        except QueueFull:
            return False
        return True

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await job()
            except (errors.Error, OSError, RuntimeError) as error:
                log.debug("nats.call_failed", error=str(error))
            finally:
                self._jobs.task_done()

    async def listen(self, subject: str, heard: Heard) -> int:
        async def hear(message: Msg) -> None:
            if sid not in self._heard_by:
                return
            reply = message.reply.encode() or None
            try:
                heard(message.subject.encode(), reply, _block(message.headers), message.data)
            except Exception:
                log.exception("nats.listener_failed", subject=message.subject)

        subscription = await self.subscribe(subject, cb=hear)
        sid = id(subscription)
        self._heard_by[sid] = subscription
        try:
            await self.settled()
        except BaseException:
            self.unlisten(sid)
            raise
        return sid

    async def listen_all(self, subjects: Sequence[str], heard: Heard) -> list[int]:
        sids: list[int] = []
        try:
            for subject in subjects:
                sids.append(await self.listen(subject, heard))  # noqa: PERF401 - to be undone
        except BaseException:
            for sid in sids:
                self.unlisten(sid)
            raise
        return sids

    def unlisten(self, sid: int) -> None:
        subscription = self._heard_by.pop(sid, None)
        if subscription is not None:
            self._later(subscription.unsubscribe)

    async def settled(self) -> None:
        while not self.is_closed:
            await self.back.wait()
            await self._jobs.join()
            try:
                # The first PING may overtake what is still pending; the second one cannot.
                await self.flush()
                await self.flush()
            except (errors.Error, OSError, RuntimeError) as error:
                log.debug("nats.flush_failed", error=str(error))
                await sleep(0.1)
            else:
                return
        raise errors.ConnectionClosedError


def _fields(header: bytes) -> dict[str, str]:
    """The mapping that nats-py wants, of a block made by `nats_wire.headers`."""
    lines = header.decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines if line)


def _block(fields: dict[str, str] | None) -> bytes | None:
    """The header block that nats-py has taken apart."""
    if fields is None:
        return None
    fields = dict(fields)
    status = fields.pop("Status", None)
    first = "NATS/1.0" if status is None else f"NATS/1.0 {status}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{first}\r\n{lines}\r\n".encode()
