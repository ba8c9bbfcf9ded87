"""Names that nobody can guess."""

from collections.abc import Iterator
from secrets import token_bytes
from typing import Final

BYTES: Final = 10
"""Of chance in each."""
AT_ONCE: Final = 128
"""To ask the system for a single one takes three times as long as to cut it from many."""


def names() -> Iterator[str]:
    """Names of 20 hexadecimal digits, without end."""
    while True:
        many = token_bytes(BYTES * AT_ONCE).hex()
        for at in range(0, len(many), 2 * BYTES):
            yield many[at : at + 2 * BYTES]
