"""One connection to the broker: how it is made, what is logged about it, how it is asked.

A node opens three (directory; appends and archive; bus and follow), so that a flood of events
never delays the renewal of a lease.
"""

from asyncio import Timeout, get_running_loop, timeout
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from secrets import token_hex
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Self

from msgspec import Struct
from nats import errors
from structlog import get_logger

from roomful_nodes.nats_address import BrokerError, checked, next_server, without_credentials
from roomful_nodes.nats_client import LeanClient
from roomful_nodes.nats_plain import PlainClient
from roomful_nodes.nats_requests import Answer, NoAnswer, Requests, Told
from roomful_nodes.nats_resilient import fits
from roomful_nodes.nats_wire import Heard
from roomful_rooms.log import Unavailable

__all__ = ["BrokerError", "NatsConnection", "NatsFollowing"]

OPEN_S: Final = 10.0
ANSWER_S: Final = 2.0
STALL_S: Final = 2.0
CLOSE_S: Final = 3.0
PING_S: Final = 5
"""Between two pings; a broker that hangs is given up after three."""
ERROR_LOG_S: Final = 5.0
"""Errors of a connection are logged at most this often."""
RETRY_S: Final = 0.5
"""Between attempts to connect for the first time."""
REFUSED_S: Final = RETRY_S / 2

log = get_logger(__name__)


class NatsFollowing(Struct, frozen=True, eq=False, gc=False):
    """A subscription; `close` may be called more than once."""

    _client: LeanClient | PlainClient
    _sid: int

    async def close(self) -> None:
        self._client.unlisten(self._sid)


class NatsConnection:
    """Made by `open`. Reconnects for ever, and then knows all its subscriptions again. `losses`:
    how often the connection was lost."""

    def __init__(
        self,
        client: LeanClient | PlainClient,
        urls: Sequence[str],
        name: str,
        closed: Callable[[], None] | None,
    ) -> None:
        self._client = client
        self._urls = urls
        self._inbox = f"_INBOX.{token_hex(8)}."
        self._requests = Requests(client.post, self._inbox)
        self.losses = 0
        self._closed = closed
        self._closing = False
        self._dropping = False
        self._opening: Timeout | None = None
        self._error = "nobody answers there"
        self._turned_away = False
        self._error_logged = float("-inf")
        self._log = log.bind(connection=name)

    @classmethod
    async def open(
        cls,
        url: str | Sequence[str],
        *,
        name: str,
        token: str | None = None,
        credentials: str | None = None,
        tls: SSLContext | None = None,
        timeout_s: float = OPEN_S,
        closed: Callable[[], None] | None = None,
        lean: bool | None = None,
    ) -> Self:
        """A connection that is up. Raises BrokerError if there is none within `timeout_s`.

        `url`: one or several, of one cluster; they may hold user and password. `credentials`: path
        of a .creds file. `closed` is called if the connection ends for good without being told to,
        which happens to a plain client only. `lean`: None takes the fast client where it fits.
        """
        urls = [checked(one) for one in ([url] if isinstance(url, str) else url)]
        if credentials is not None and find_spec("nkeys") is None:
            raise BrokerError('Credentials need nkeys; pip install "nats-py[nkeys]".')
        if lean is None:
            lean = fits() and not any(one.startswith(("ws://", "wss://")) for one in urls)
        connection = cls(LeanClient() if lean else PlainClient(), urls, name, closed)
        options = {"token": token, "user_credentials": credentials, "tls": tls}
        given = {key: value for key, value in options.items() if value is not None}
        await connection._connect(timeout_s, name=name, **given)
        return connection

    async def _connect(self, timeout_s: float, **options: Any) -> None:
        try:
            async with timeout(timeout_s) as self._opening:
                await self._client.connect(
                    servers=list(self._urls),
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                    reconnect_to_server_handler=next_server,
                    reconnect_time_wait=RETRY_S,
                    max_reconnect_attempts=-1,
                    ping_interval=PING_S,
                    max_outstanding_pings=2,
                    pending_size=2**25,  # our own, smaller bounds come first and never block
                    no_echo=True,
                    **options,
                )
                await self._client.listen(self._inbox + "*", self._requests.heard)
        except (TimeoutError, errors.Error, OSError) as error:
            reason = self._error if isinstance(error, TimeoutError) else str(error)
            await self.close()
            raise BrokerError(f"No NATS broker at {self.url}: {reason}.") from None
        finally:
            self._opening = None
        self._log.info("nats.connected", url=self.url, lean=isinstance(self._client, LeanClient))

    # -- state -------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it is connected, or would like to be; without credentials."""
        now = self._client.connected_url
        return (
            without_credentials(now.geturl())
            if now
            else ", ".join(without_credentials(one) for one in self._urls)
        )

    @property
    def connected(self) -> bool:
        return self._client.back.is_set() and self._client.is_connected

    @property
    def single(self) -> bool:
        """Whether the broker is one server, so that no other has copies of its streams."""
        return self._client.single

    @property
    def server_version(self) -> tuple[int, int]:
        version = self._client.connected_server_version
        return version.major, version.minor

    # -- use ---------------------------------------------------------------------------------------

    def publish(
        self, subject: bytes, payload: bytes, header: bytes | None = None, reply: bytes = b""
    ) -> None:
        """Send at the end of this turn. While too much is waiting, messages are dropped.

        Raises ValueError if the broker would refuse it for its size (and close the connection).
        """
        self._check_size(payload, header)
        sent = self._client.post(subject, payload, header, reply)
        if not sent and not self._dropping:
            self._log.warning("nats.dropping", connected=self.connected)
        self._dropping = not sent

    async def request(
        self,
        subject: bytes,
        payload: bytes,
        header: bytes | None = None,
        timeout_s: float = ANSWER_S,
    ) -> Answer:
        """Ask and wait for one answer; while disconnected, nothing is sent. Raises NoAnswer."""
        self._check_size(payload, header)
        if not self._client.back.is_set():
            await self._reconnection(timeout_s)
        return await self._requests.one(subject, payload, header, timeout_s)

    def ask(
        self, subject: bytes, payload: bytes, header: bytes | None, timeout_s: float, told: Told
    ) -> None:
        """`request` without a task that waits: `told` hears the answer, or NoAnswer; at once, while
        disconnected. Raises ValueError for its size."""
        self._check_size(payload, header)
        if self._client.back.is_set():
            self._requests.ask(subject, payload, header, timeout_s, told)
        else:
            told(NoAnswer("the broker is away"))

    async def series(self, subject: bytes, payload: bytes) -> list[Answer]:
        """Ask and collect answers up to the one with a status. Raises NoAnswer."""
        if not self._client.back.is_set():
            await self._reconnection(ANSWER_S)
        return await self._requests.series(subject, payload, ANSWER_S, STALL_S)

    async def listen(self, subject: str, heard: Heard) -> NatsFollowing:
        """Call `heard` for each message on `subject`; returns when the broker knows of it.

        It survives reconnects; what is published in between is missed.
        """
        [following] = await self.listen_all([subject], heard)
        return following

    async def listen_all(self, subjects: Sequence[str], heard: Heard) -> list[NatsFollowing]:
        """`listen` to each of them, for hardly more than to one."""
        sids = await self._client.listen_all(subjects, heard)
        return [NatsFollowing(self._client, sid) for sid in sids]

    async def answered(self) -> None:
        """Return when the broker has answered to all that was sent so far; while it is away, when
        it is back. Raises Unavailable if the connection is closed for good."""
        try:
            await self._client.settled()
        except errors.ConnectionClosedError:
            raise Unavailable("the connection was closed") from None

    async def close(self) -> None:
        """Send what is pending, a few seconds at most, and end. May be called more than once."""
        if self._closing:
            return
        self._closing = True
        self._requests.fail_all("the connection was closed")
        with suppress(TimeoutError, errors.Error):
            if self.connected:
                async with timeout(CLOSE_S):
                    await self._client.settled()
        try:
            async with timeout(CLOSE_S):
                await self._client.close()
        except TimeoutError:
            # A broker that hangs does not take the rest.
            self._client.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _check_size(self, payload: bytes, header: bytes | None) -> None:
        size = len(payload) + (len(header) if header else 0)
        if size > self._client.max_payload:
            raise ValueError(f"{size} bytes are more than the broker's {self._client.max_payload}")

    async def _reconnection(self, timeout_s: float) -> None:
        try:
            async with timeout(timeout_s):
                await self._client.back.wait()
        except TimeoutError:
            raise NoAnswer("the broker is away") from None
        if self._closing:
            raise NoAnswer("the connection was closed")

    # -- what nats-py tells; nothing may be raised here, that would end its read loop --------------

    async def _on_error(self, error: Exception) -> None:
        now = get_running_loop().time()
        if self._opening is not None:
            if self._turned_away:
                return  # What further attempts meet with (resets, mostly) says less.
            self._error = str(error) or type(error).__name__
            if "authorization" in self._error.lower():
                # It will not get better. nats-py is given the time to close the socket.
                self._turned_away = True
                self._opening.reschedule(now + REFUSED_S)
        elif now - self._error_logged >= ERROR_LOG_S:
            self._error_logged = now
            self._log.warning("nats.error", error=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        self.losses += 1
        self._requests.fail_all("the connection was lost")
        if not self._closing:
            self._log.warning("nats.disconnected", url=self.url)

    async def _on_reconnected(self) -> None:
        self._log.info("nats.reconnected", url=self.url)

    async def _on_closed(self) -> None:
        self._log.log(20 if self._closing else 40, "nats.closed", url=self.url)
        if not self._closing and self._closed is not None:
            self._closed()
