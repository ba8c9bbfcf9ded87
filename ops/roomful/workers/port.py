"""The port of all workers: nobody else's, before the first listens and until the last has ended."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held(host: str, port: int) -> Iterator[None]:
    """Hold the port for those processes of this user that say they share it.

    Raises OSError if somebody has it, sharing or not: two crews must not become one by mistake.
    """
    with ExitStack() as holding:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # A name may have the same one twice.
        for family, type, protocol, _, address in dict.fromkeys(addresses):
            holder = holding.enter_context(socket.socket(family, type, protocol))
            if family == socket.AF_INET6:
                # As the loop does: an address of its own for each of both.
                holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Bound as if alone, so that it fails where anybody listens; shared only then. Who does
            # the same finds it in use, as it has become one that is not to be bound again.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(address)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield
