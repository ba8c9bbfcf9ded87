"""How a process that serves is told to end: by one signal in good order, by a second in a hurry."""

import asyncio
import signal


class End:
    """Why and how this process is to end: asked to, in a hurry, or because the broker is gone."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.hurried = asyncio.Event()
        self.broker_lost = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    def lose_broker(self) -> None:
        self.broker_lost = True
        self.wanted.set()

    def _signalled(self) -> None:
        (self.hurried if self.wanted.is_set() else self.wanted).set()
