"""The note beside the embedded store: when the store counts as the same, and when it does not."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from roomful import embedded_marker
from roomful.embedded import EmbeddedServer
from roomful.embedded_marker import Marker


@pytest.fixture(autouse=True)
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the kernel names this run of the machine."""
    path = tmp_path / "boot_id"
    path.write_text("monday\n")
    monkeypatch.setattr(embedded_marker, "BOOT_ID", path)
    return path


class Store:
    """A store, and the note beside it."""

    def __init__(self, folder: Path) -> None:
        self.note = folder / "incarnation"
        self.path = folder / "store"

    def opened(self) -> Marker:
        marker = Marker(self.note, self.path)
        (self.path / "streams").mkdir(parents=True, exist_ok=True)
        (self.path / "streams" / "1.blk").write_text("records")
        return marker


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_new_store_has_forgotten_nothing(store: Store) -> None:
    marker = store.opened()
    assert (marker.incarnation, marker.anew) == ("", False)


def test_a_store_whose_processes_were_killed_is_the_same(store: Store) -> None:
    store.opened()
    marker = store.opened()
    assert (marker.incarnation, marker.anew) == ("", False)


def test_a_store_that_was_settled_is_the_same_after_a_boot(store: Store, boot: Path) -> None:
    store.opened().settle()
    boot.write_text("tuesday")
    marker = store.opened()
    assert (marker.incarnation, marker.anew) == ("", False)


def test_a_store_that_was_in_use_when_the_machine_went_down_is_another(
    store: Store, boot: Path
) -> None:
    store.opened()
    boot.write_text("tuesday")
    second = store.opened()
    assert second.anew
    assert len(second.incarnation) == 6
    boot.write_text("wednesday")
    third = store.opened()
    assert third.anew
    assert third.incarnation not in ("", second.incarnation)
    # It stays that from now on.
    third.settle()
    boot.write_text("thursday")
    fourth = store.opened()
    assert (fourth.incarnation, fourth.anew) == (third.incarnation, False)


@pytest.mark.parametrize("note", ["", "{}", '{"incarnation": 1', "[]"])
def test_a_note_that_says_nothing_makes_a_store_another(store: Store, note: str) -> None:
    store.opened().settle()
    store.note.write_text(note)
    assert store.opened().anew


def test_a_store_put_back_without_its_note_is_another(store: Store) -> None:
    store.opened().settle()
    store.note.unlink()
    assert store.opened().anew


def test_where_boots_have_no_names_only_a_settled_store_is_the_same(
    store: Store, boot: Path
) -> None:
    boot.unlink()
    store.opened().settle()
    assert not store.opened().anew
    assert store.opened().anew


async def test_the_server_notes_its_end_and_tells_its_incarnation_by_its_name(
    tmp_path: Path, boot: Path
) -> None:
    note = tmp_path / "nats" / "incarnation"
    async with EmbeddedServer(tmp_path) as server:
        assert server.incarnation == ""
        assert json.loads(note.read_text()) == {
            "incarnation": "", "boot": "monday", "clean": False,
        }  # fmt: skip
    assert json.loads(note.read_text())["clean"]
    note.write_text(json.dumps({"incarnation": "", "boot": "sunday", "clean": False}))
    with capture_logs() as logged:
        async with EmbeddedServer(tmp_path) as server:
            name = f"roomful-embedded-{server.incarnation}"
            assert f'server_name: "{name}"' in (tmp_path / "nats" / "nats.conf").read_text()
    assert [event for event in logged if event["event"] == "embedded.store_unsure"]
