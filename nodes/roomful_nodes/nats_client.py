"""nats-py's client with its hot paths replaced: raw subscriptions, coalesced writes, own parser.

nats-py keeps what it does well: connecting, TLS, authentication, pings, reconnecting. Replaced is
what it does per message: a task and a queue per subscription, headers into mappings, a regular
expression and a copy of the buffer for each. `nats_resilient.fits` guards the private names.
"""

from asyncio import Future, StreamReader, Transport, get_running_loop, shield
from collections.abc import Sequence
from functools import partial
from json import loads
from typing import Any, ClassVar, Final, cast

from msgspec import Struct
from nats import errors
from structlog import get_logger

from roomful_nodes.nats_resilient import ResilientClient
from roomful_nodes.nats_wire import Heard, Malformed, Parser, publication

CONNECTED_BYTES: Final = 16 * 2**20
"""What may wait for the socket of a broker that reads slowly."""
AWAY_BYTES: Final = 2 * 2**20
"""What may wait for a broker that is away."""
EAGER_BYTES: Final = 2**18
"""Beyond this much in one turn of the loop, the socket is written to at once."""
READ_BYTES: Final = 2**16
"""After a read of more than this, all else on the loop has its turn before the next one."""

log = get_logger(__name__)


class _Replayed(Struct, eq=False, gc=False):
    """What nats-py needs of a subscription to tell the next server of it; a tenth of its own."""

    _id: int
    _subject: str
    _queue: ClassVar = ""
    _max_msgs: ClassVar = 0
    _received: ClassVar = 0
    _wait_for_msgs_task: ClassVar = None
    _message_iterator: ClassVar = None
    _pending_next_msgs_calls: ClassVar = None


class _Feed:
    """Stands where nats-py has its parser: messages by `Parser`, the other lines to the client."""

    def __init__(self, client: "LeanClient", parser: Parser) -> None:
        self._client = client
        self._parser = parser
        self.reset()

    def reset(self) -> None:
        """What was read so far is of no interest any more, nor what its reader yet gets."""
        self._parser.reset()
        self._reader: StreamReader | None = None
        self._lines: list[bytes] = []
        self._failure: Exception | None = None

    def tap(self, reader: StreamReader) -> None:
        """Take from now on what `reader` is given, in that very turn: a message need not wait for
        the task that reads. That is woken for all else."""
        self._reader, self._wake = reader, partial(reader.feed_data, b"\n")
        arrived = partial(self._arrived, reader)
        buffer = cast("Any", reader)._buffer  # noqa: SLF001 - what has come before this
        early = bytes(buffer)
        buffer.clear()
        cast("Any", reader).feed_data = arrived
        arrived(early)

    def _arrived(self, reader: StreamReader, data: bytes) -> None:
        if reader is not self._reader or self._failure is not None:
            return
        if len(data) > READ_BYTES:
            # Or uvloop would read on, megabytes where the broker has sent ahead.
            self._client.rest()
        try:
            self._lines += self._parser.feed(data)
        except (Malformed, ValueError) as failure:
            self._failure = failure
        if self._lines or self._failure is not None:
            self._wake()

    async def parse(self, data: bytes = b"") -> None:
        """Act on what a task is needed for; without a tap, `data` is what was read."""
        lines, self._lines = self._lines, []
        try:
            if self._reader is None:
                lines = self._parser.feed(data)
            for line in lines:
                await self._client.obey(line)
            if self._failure is not None:
                raise self._failure
        except (Malformed, ValueError) as error:
            raise errors.ProtocolError(str(error)) from error


class LeanClient(ResilientClient):
    """The client of one connection; `listen`, `unlisten`, `post` and `settled` are its own."""

    def __init__(self) -> None:
        super().__init__()
        self._heard: dict[bytes, Heard] = {}
        self._feed = _Feed(self, Parser(self._heard))
        self._ps = cast("Any", self._feed)
        self._running = get_running_loop()
        # Whether the end of this turn is waited for, and whether more than one command came in the
        # one before.
        self._due = self._crowded = False
        self._fence: Future[bool] | None = None
        self._fences: set[Future[bool]] = set()

    # -- publishing --------------------------------------------------------------------------------

    def post(self, subject: bytes, payload: bytes, header: bytes | None, reply: bytes) -> bool:
        """Send at the end of this turn of the loop. False: dropped, too much is waiting."""
        command = publication(subject, payload, header, reply)
        waiting = self._pending_data_size + len(command)
        if waiting > AWAY_BYTES and (waiting > CONNECTED_BYTES or not self.is_connected):
            return False
        self._queue(command)
        return True

    def _queue(self, command: bytes) -> None:
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self._pending_data_size > EAGER_BYTES:
            self._write()
        elif not self._due:
            self._due = True
            alone = not self._crowded
            self._running.call_soon(self._turn_ends, alone)
            if alone:
                # Most likely nothing else is said in this turn: so its end is not waited for.
                self._write()

    def _turn_ends(self, one_ahead: bool) -> None:
        self._due = False
        self._crowded = len(self._pending) + one_ahead > 1
        if self._pending:
            self._write()

    def _write(self) -> None:
        """Write what is pending, or leave it to nats-py's flusher while the socket is congested."""
        transport = self._socket()
        if transport is None:
            return
        flushes = self._flush_queue
        if transport.get_write_buffer_size() == 0:
            self._write_through(transport)
        elif flushes is not None and flushes.empty():
            flushes.put_nowait(get_running_loop().create_future())

    def _write_through(self, transport: Transport, more: bytes = b"") -> None:
        data = b"".join((*self._pending, more))
        self._pending = []
        self._pending_data_size = 0
        try:
            transport.write(data)
        except (RuntimeError, OSError):
            # uvloop raises when the socket has just died; the read loop finds out, too.
            log.debug("nats.write_failed", bytes=len(data))

    # -- subscriptions -----------------------------------------------------------------------------

    async def listen(self, subject: str, heard: Heard) -> int:
        """Call `heard` in the turn in which a message is read. Returns when the broker knows.

        Raises ConnectionClosedError.
        """
        [sid] = await self.listen_all([subject], heard)
        return sid

    async def listen_all(self, subjects: Sequence[str], heard: Heard) -> list[int]:
        """`listen` to each of them, for hardly more than to one."""
        sids = [self._begin(subject, heard) for subject in subjects]
        try:
            await self.settled()
        except BaseException:
            for sid in sids:
                self.unlisten(sid)
            raise
        return sids

    def _begin(self, subject: str, heard: Heard) -> int:
        self._sid += 1
        sid = self._sid
        self._heard[b"%d" % sid] = heard
        self._subs[sid] = cast("Any", _Replayed(sid, subject))
        if self.is_connected:
            self._queue(f"SUB {subject}  {sid}\r\n".encode())
        return sid

    def unlisten(self, sid: int) -> None:
        """Nothing is heard from now on, whatever is still under way."""
        self._heard.pop(b"%d" % sid, None)
        if self._subs.pop(sid, None) is not None and self.is_connected:
            self._queue(b"UNSUB %d\r\n" % sid)

    async def settled(self) -> None:
        """Return when the broker has read all that was sent so far.

        All who ask in one turn share one PING. While the broker is away: when it is back and has
        been told of every subscription. Raises ConnectionClosedError.
        """
        while not self.is_closed:
            if self._fence is None:
                self._fence = get_running_loop().create_future()
                get_running_loop().call_soon(self._raise_fence, self._fence)
            if await shield(self._fence):
                return
            await self.back.wait()
        raise errors.ConnectionClosedError

    def _raise_fence(self, fence: Future[bool]) -> None:
        """Send PING behind what is pending (nats-py's flush lets it overtake that)."""
        self._fence = None
        transport = self._socket()
        if transport is None:
            fence.set_result(False)
            return
        self._fences.add(fence)
        self._pongs.append(fence)
        self._write_through(transport, b"PING\r\n")

    def _went_away(self) -> None:
        super()._went_away()
        for fence in self._fences:
            if not fence.done():
                fence.set_result(False)
        self._fences.clear()

    def rest(self) -> None:
        """Read no more in this turn of the loop."""
        transport = self._bare_transport()
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
            get_running_loop().call_soon(_read_on, transport)

    async def _read_loop(self) -> None:
        # Begun once for each connection.
        reader = getattr(self._transport, "_io_reader", None)
        if reader is not None:
            self._feed.tap(reader)
        await super()._read_loop()

    # -- what else the broker says -----------------------------------------------------------------

    async def obey(self, line: bytes) -> None:
        """Act on a line of the protocol that is not a message. Raises ValueError, Malformed."""
        match line[:4]:
            case b"PING":
                self._queue(b"PONG\r\n")
            case b"PONG":
                self._pong()
            case b"INFO":
                await self._process_info(loads(line[5:]))
            case b"-ERR":
                await self._process_err(line[4:].decode(errors="replace").strip().lower())
            case b"+OK":
                pass
            case _:
                raise Malformed(line[:80].decode(errors="replace"))

    def _pong(self) -> None:
        # nats-py sets the result of a future that may be cancelled, which ends its read loop.
        self._pings_outstanding = 0
        if not self._pongs:
            return
        waiting = self._pongs.pop(0)
        self._fences.discard(waiting)
        if not waiting.done():
            waiting.set_result(True)


def _read_on(transport: Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
