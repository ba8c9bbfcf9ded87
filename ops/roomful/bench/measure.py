"""What is measured: single readings, and the figures that their repeats make."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final, Self

NOISY: Final = 0.15
"""A reading during which others took more than this part of a core is repeated, if it may be."""
SATURATED: Final = 0.9
"""A server that used less than this part of its core may have been waiting for the load."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement. `ceilings`: what the machine did in the same minutes without Roomful, by the
    name of what did it. `foreign`: cores that other processes took meanwhile. `details`: what
    else was seen. `stalled`: for a moment nothing at all went on. `busy`: the part of its core that
    the server used, where it was given all that it can take; else None."""

    figure: str
    unit: str
    value: float
    ceilings: Mapping[str, float] = field(default_factory=dict)
    foreign: float = 0.0
    details: Mapping[str, float] = field(default_factory=dict)
    stalled: bool = False
    busy: float | None = None

    @property
    def noisy(self) -> bool:
        return self.stalled or self.foreign > NOISY


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The median of a ceiling; `ratio`: the median of value / ceiling, each within one repeat."""

    value: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Figure:
    """The repeats of one measurement. `value`, `details`: medians. `spread`: (max - min) / median.
    `foreign`: the most that other processes took during one of the repeats, in cores. `busy`: the
    median of the readings'. `stalled`: whether one of them was."""

    figure: str
    unit: str
    value: float
    samples: tuple[float, ...]
    spread: float
    foreign: float
    ceilings: Mapping[str, Ceiling]
    details: Mapping[str, float]
    busy: float | None = None
    stalled: bool = False

    @property
    def saturated(self) -> bool:
        """Whether the server was as busy as it can be, or was not meant to be."""
        return self.busy is None or self.busy >= SATURATED

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, written: Mapping[str, Any]) -> Self:
        """What `as_json` made. Raises KeyError or TypeError if it is something else."""
        ceilings = {name: Ceiling(**each) for name, each in written["ceilings"].items()}
        samples = tuple(written["samples"])
        return cls(**{**written, "ceilings": ceilings, "samples": samples})


def settled(readings: Iterable[Reading], repeats: int) -> bool:
    """Whether each figure has been read `repeats` times without noise."""
    clean: dict[str, int] = {}
    for reading in readings:
        clean[reading.figure] = clean.get(reading.figure, 0) + (not reading.noisy)
    return bool(clean) and min(clean.values()) >= repeats


def figures(readings: Iterable[Reading], repeats: int) -> list[Figure]:
    """One figure for each name, in the order of their first readings.

    Made of the readings without noise; where there are fewer than `repeats` of these, of the
    `repeats` quietest ones.
    """
    named: dict[str, list[Reading]] = {}
    for reading in readings:
        named.setdefault(reading.figure, []).append(reading)
    return [_figure(_chosen(same, repeats)) for same in named.values()]


def _chosen(same: list[Reading], repeats: int) -> list[Reading]:
    clean = [reading for reading in same if not reading.noisy]
    if len(clean) >= repeats:
        return clean
    return sorted(same, key=lambda reading: (reading.stalled, reading.foreign))[:repeats]


def _figure(same: list[Reading]) -> Figure:
    first, samples = same[0], tuple(reading.value for reading in same)
    middle = median(samples)
    return Figure(
        figure=first.figure,
        unit=first.unit,
        value=middle,
        samples=samples,
        spread=(max(samples) - min(samples)) / middle if middle else 0.0,
        foreign=max(reading.foreign for reading in same),
        ceilings={name: _ceiling(same, name) for name in first.ceilings},
        details={name: median(r.details[name] for r in same) for name in first.details},
        busy=median(parts) if (parts := [r.busy for r in same if r.busy is not None]) else None,
        stalled=any(reading.stalled for reading in same),
    )


def _ceiling(same: list[Reading], name: str) -> Ceiling:
    return Ceiling(
        value=median(reading.ceilings[name] for reading in same),
        ratio=median(reading.value / reading.ceilings[name] for reading in same),
    )
