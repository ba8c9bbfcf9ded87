"""Growth as a plot."""

from xml.etree import ElementTree

import pytest

from roomful.bench.measure import Figure, Reading, figures
from roomful.bench.plot import HEIGHT, TOP, WIDTH, drawn, named, panels

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def measured(points: dict[str, float]) -> list[Figure]:
    return figures([Reading(name, "µs", value) for name, value in points.items()], 1)


def test_figures_of_growth_become_lines_by_what_grows() -> None:
    found = measured(
        {
            named("members, log on", 1000): 0.2,
            named("members, log on", 10_000): 0.1,
            named("members, log off", 1000): 0.15,
            named("nodes", 2): 0.3,
            "one hot room": 7.0,
        }
    )
    assert panels(found) == {
        "members": {"log on": [(1000, 0.2), (10_000, 0.1)], "log off": [(1000, 0.15)]},
        "nodes": {"": [(2, 0.3)]},
    }


def test_what_falls_is_drawn_falling() -> None:
    svg = drawn({"a < b": {"on": [(10.0, 1000.0), (1000.0, 0.01)]}}, "µs")
    root = parsed(svg)
    places = [
        (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter(f"{SVG}circle")
    ]
    (left, high), (right, low) = places
    assert 0 < left < right < WIDTH
    assert TOP <= high < low < HEIGHT
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert "CPU µs by a < b" in words
    assert {"10", "100", "1,000", "0.01", "0.1", "1"} <= set(words)
    assert words.count("1,000") == 2


def test_within_few_powers_of_ten_there_are_marks_between() -> None:
    svg = drawn({"nodes": {"": [(1.0, 0.2), (2.0, 0.2), (4.0, 0.3)]}}, "µs")
    words = [text.text for text in parsed(svg).iter(f"{SVG}text")]
    assert {"1", "2", "5", "0.05", "0.1", "0.2", "0.5"} == {
        word for word in words if word and word[0].isdigit()
    }


def test_nothing_measured_is_an_empty_picture() -> None:
    root = parsed(drawn(panels([]), "µs"))
    assert not list(root.iter(f"{SVG}circle"))
    with pytest.raises(StopIteration):
        next(root.iter(f"{SVG}line"))
