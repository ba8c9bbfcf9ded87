"""The contract of `Archive`, on every twin: blobs of any size, replaced as a whole."""

import asyncio

import pytest

from roomful_rooms.log import Archive

pytest_plugins = ["tests.support.nats_server"]

Archives = tuple[Archive, Archive]
ROOM = "lobby"
SIZES = (0, 1, 1000, 512 * 1024, 512 * 1024 + 1, 1024 * 1024, 5_000_000)


def blob(size: int, fill: int = 0) -> bytes:
    """Bytes in which no two places a part's length apart are alike."""
    return b"".join((n + fill).to_bytes(8, "big") for n in range(size // 8 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_of_any_size_comes_back(archives: Archives, size: int) -> None:
    a, b = archives
    await a.save(ROOM, "snap", blob(size))
    assert await b.load(ROOM, "snap") == blob(size)


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_that_never_changes_comes_back(archives: Archives, size: int) -> None:
    a, b = archives
    assert await b.load(ROOM, "page-1", constant=True) is None
    await a.save(ROOM, "page-1", blob(size))
    assert await b.load(ROOM, "page-1", constant=True) == blob(size)


async def test_what_was_never_saved_is_none(archives: Archives) -> None:
    a, _ = archives
    await a.save(ROOM, "page-1", b"one")
    assert await a.load(ROOM, "page-2") is None
    assert await a.load("another", "page-1") is None


@pytest.mark.parametrize("old", [10, 2_000_000])
@pytest.mark.parametrize("new", [20, 1_500_000])
async def test_a_blob_replaces_the_one_before(archives: Archives, old: int, new: int) -> None:
    a, b = archives
    await a.save(ROOM, "snap", blob(old))
    await b.save(ROOM, "snap", blob(new, 7))
    assert await a.load(ROOM, "snap") == blob(new, 7)


@pytest.mark.parametrize("size", [10, 2_000_000])
async def test_a_discarded_blob_is_gone_and_may_come_back(archives: Archives, size: int) -> None:
    a, b = archives
    await a.save(ROOM, "page-1", blob(size))
    await b.discard(ROOM, "page-1")
    assert await a.load(ROOM, "page-1") is None
    await a.save(ROOM, "page-1", b"again")
    assert await b.load(ROOM, "page-1") == b"again"


async def test_discarding_what_is_not_there_is_no_error(archives: Archives) -> None:
    a, _ = archives
    await a.save(ROOM, "snap", b"kept")
    await a.discard(ROOM, "page-1")
    await a.discard(ROOM, "page-1")
    assert await a.load(ROOM, "snap") == b"kept"


async def test_a_key_that_begins_like_another_is_another(archives: Archives) -> None:
    a, b = archives
    keys = ("page-1", "page-10", "page", "p", "1")
    for key in keys:
        await a.save(ROOM, key, blob(600_000, len(key)))
    await a.discard(ROOM, "page-1")
    for key in keys[1:]:
        assert await b.load(ROOM, key) == blob(600_000, len(key))


@pytest.mark.parametrize("room", ["a.b", "*", ">", "with space", "日本語", "🎉" * 128])
async def test_any_name_is_a_room(archives: Archives, room: str) -> None:
    a, b = archives
    await a.save(room, "snap", blob(700_000))
    assert await b.load(room, "snap") == blob(700_000)
    await b.discard(room, "snap")
    assert await a.load(room, "snap") is None


async def test_readers_see_the_old_or_the_new_blob_never_a_mixture(archives: Archives) -> None:
    a, b = archives
    versions = [blob(size, size) for size in (1_200_000, 100, 800_000, 2_000_000, 5)]
    await a.save(ROOM, "snap", versions[0])
    saved = asyncio.Event()

    async def save() -> None:
        for version in versions * 3:
            await a.save(ROOM, "snap", version)
        saved.set()

    saving = asyncio.create_task(save())
    seen = 0
    while not saved.is_set():
        assert await b.load(ROOM, "snap") in versions
        seen += 1
    await saving
    assert seen > 0
    assert await b.load(ROOM, "snap") == versions[-1]


async def test_rivals_leave_one_whole_blob(archives: Archives) -> None:
    blobs = [blob(1_000_000 + n, n) for n in range(6)]
    saves = [archives[n % 2].save(ROOM, "snap", one) for n, one in enumerate(blobs)]
    await asyncio.gather(*saves)
    loaded = await archives[0].load(ROOM, "snap")
    assert loaded in blobs
    assert await archives[1].load(ROOM, "snap") == loaded
