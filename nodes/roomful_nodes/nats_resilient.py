"""nats-py's client, made to outlive brokers that die, hang or refuse.

Each override names what goes wrong without it. This leans on private names of nats-py 2.16: `fits`
checks them, and where they have changed the connection uses `nats_plain` instead.
"""
# Private names of the superclass's parts are the point of this file.
# ruff: noqa: SLF001

from asyncio import Event, Transport, sleep
from importlib.metadata import PackageNotFoundError, version
from inspect import iscoroutinefunction
from typing import Any, Final

from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from structlog import get_logger

_ATTRIBUTES: Final = (
    "_subs", "_sid", "_pending", "_pending_data_size", "_flush_queue", "_pongs",
    "_pings_outstanding", "_transport", "_ps", "_status", "_error_cb", "_server_info",
)  # fmt: skip
_COROUTINES: Final = (
    "_attempt_reconnect", "_process_op_err", "_process_err", "_process_info",
    "_connect_to_server", "_close", "_read_loop",
)  # fmt: skip

log = get_logger(__name__)


def fits() -> bool:
    """Whether the installed nats-py is the one whose inside is known here and in `nats_client`."""
    try:
        known = version("nats-py").startswith("2.16.")
    except PackageNotFoundError:
        return False
    client = Client()
    return (
        known
        and all(hasattr(client, name) for name in _ATTRIBUTES)
        and all(iscoroutinefunction(getattr(client, name, None)) for name in _COROUTINES)
        and all(hasattr(client._ps, name) for name in ("parse", "reset"))
        and {"_io_reader", "_io_writer"} <= vars(TcpTransport()).keys()  # type: ignore[no-untyped-call]
    )


class ResilientClient(Client):
    """`back` is set while the broker is there and has been told of all subscriptions."""

    def __init__(self) -> None:
        super().__init__()
        self.back = Event()

    @property
    def single(self) -> bool:
        """Whether the server keeps streams, and names no cluster that it belongs to."""
        said = self._server_info
        return bool(said.get("jetstream")) and "cluster" not in said

    def _socket(self) -> Transport | None:
        """The loop's own transport, while there is one to write to."""
        transport = self._bare_transport()
        usable = self.is_connected and transport is not None and not transport.is_closing()
        return transport if usable else None

    def _bare_transport(self) -> Transport | None:
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport

    def abort(self) -> None:
        """Drop the socket and what is buffered for it."""
        transport = self._bare_transport()
        if transport is not None:
            transport.abort()

    async def connect(self, *args: Any, **options: Any) -> None:
        await super().connect(*args, **options)
        self.back.set()

    async def _connect_to_server(self, s: Any) -> None:
        # An attempt that failed half-way has left its socket open.
        self.abort()
        await super()._connect_to_server(s)

    async def _process_op_err(self, e: Exception) -> None:
        if self.is_connected:
            self.back.clear()
        await super()._process_op_err(e)

    async def _attempt_reconnect(self) -> None:
        self._went_away()
        while True:
            try:
                await super()._attempt_reconnect()
                break
            except Exception:
                # What nats-py does not expect here would leave the connection dead for ever.
                log.exception("nats.reconnect_failed")
                self._status = Client.RECONNECTING
                await sleep(1)
        if self.is_connected:
            self.back.set()

    def _went_away(self) -> None:
        """Nothing meant for the lost connection is said to the next one, but subscriptions."""
        self.back.clear()
        self._pending = []
        self._pending_data_size = 0
        # A broker that hangs never takes what is buffered, and nats-py would wait until it does.
        self.abort()

    async def _process_err(self, err_msg: str) -> None:
        # nats-py closes for ever on most errors. The broker ends the connection; that is enough.
        if "permissions violation" in err_msg:
            await self._error_cb(errors.Error(f"nats: {err_msg}"))
        else:
            log.warning("nats.refused", error=err_msg)
            await self._process_op_err(errors.Error(f"nats: {err_msg}"))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if not self.is_connected:
            # nats-py would write what is pending to the socket that was lost, and uvloop raises.
            self._pending = []
            self._pending_data_size = 0
        await super()._close(status, do_cbs)
        if status == Client.CLOSED:
            # Whoever waits for the broker looks again, and finds the client closed.
            self.back.set()
