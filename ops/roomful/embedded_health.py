"""Whether the embedded server still writes what it is given: asked over its monitoring port."""

import asyncio
from contextlib import suppress
from json import loads
from typing import Final
from urllib.error import HTTPError
from urllib.request import urlopen

ANSWER_S: Final = 2.0
WRITE_ERROR: Final = "write error"


async def gave_up(monitoring: str) -> bool:
    """Whether the server says that it could not write a stream.

    It leaves such a stream dead, though there be room on the disk again. Not answering means
    nothing: whoever needs the server will notice.
    """
    return await asyncio.to_thread(_gave_up, f"{monitoring}/healthz")


def _gave_up(url: str) -> bool:
    with suppress(OSError, ValueError):
        try:
            # Loopback, and a path that only we know.
            urlopen(url, timeout=ANSWER_S).close()  # noqa: S310
        except HTTPError as unhealthy:
            with unhealthy:
                return WRITE_ERROR in str(loads(unhealthy.read()).get("error"))
    return False
