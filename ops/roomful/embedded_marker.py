"""Whether the embedded store still holds all it ever held, as far as that can be known.

nats-server brings what it acknowledges to disk five times a second. A process that dies takes
nothing with it, the kernel has it all; a machine that loses power forgets the last moment, and the
store gives the same numbers to other messages afterwards. So the store has an incarnation. It stays
the same after a stop in good order and as long as the machine has not booted since; else it is a
new one, and rooms begin new epochs.
"""

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path
from secrets import token_hex

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class _Note:
    """What is written down: in use since `boot`, or stopped with all of it on disk (`clean`)."""

    incarnation: str
    boot: str | None
    clean: bool


class Marker:
    """The note beside a store. `anew`: whether the store may have forgotten something."""

    def __init__(self, path: Path, store: Path) -> None:
        """Look at the store before its server starts, and note that it is in use."""
        self._path, self._store = path, store
        boot = _boot()
        note = _read(path)
        unharmed = note is not None and (note.clean or (note.boot == boot and boot is not None))
        self.anew = not unharmed and store.exists()
        incarnation = token_hex(3) if self.anew else (note.incarnation if note else "")
        self._note = _Note(incarnation, boot, clean=False)
        self._write(self._note)

    @property
    def incarnation(self) -> str:
        """The name of what the store has become; "" if it has always been the same."""
        return self._note.incarnation

    def settle(self) -> None:
        """The server has ended: bring all of the store to disk, and note that."""
        for folder, _, names in os.walk(self._store):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
        self._write(_Note(self._note.incarnation, self._note.boot, clean=True))

    def _write(self, note: _Note) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_text(dumps(asdict(note)))
        _sync(fresh)
        fresh.replace(self._path)
        _sync(self._path.parent)


def _boot() -> str | None:
    """The name of this run of the machine; None where it has none (only Linux tells)."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return None


def _read(path: Path) -> _Note | None:
    """None if there is no note, or none that can be understood: then nothing is certain."""
    with suppress(OSError, ValueError, TypeError):
        return _Note(**loads(path.read_text()))
    return None


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
