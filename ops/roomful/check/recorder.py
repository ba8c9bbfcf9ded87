"""A client's state that writes down every frame of both ways before anybody makes sense of it.

So what the client itself makes of them, which may be wrong, changes nothing about its history.
"""

from collections.abc import Callable
from typing import Any, Final

from roomful.check import history
from roomful.check.content import Content, sessions
from roomful.check.rooms import FAIL
from roomful_client.state import Outcome, State
from roomful_protocol.codecs.json import loads
from roomful_protocol.frames import ClientId

Frame = dict[str, Any]

FINE: Final = {FAIL: ("handler_failed",), "chat.whisper": ("unknown_target",)}
"""Refusals that a message of this type may meet though all is well."""
NOWHERE: Final = ""
"""The room of what is said outside any."""
UNASKED: Final = "unasked"
"""Stands for an answer to what nobody has asked."""


class Recorder:
    """What happened to one client, from its frames. `contents` is shared by all of a run: what many
    hear is kept once."""

    def __init__(self, now: Callable[[], float], contents: dict[Content, Content]) -> None:
        self.events: list[history.Event] = []
        self.targeted: dict[str, Frame] = {}
        """Messages that are not for everybody, by key."""
        self.parting = False
        self._now, self._contents = now, contents
        self._asked: dict[ClientId, Frame] = {}
        self._session = ""

    # -- what the client says ----------------------------------------------------------------------

    def sent(self, frame: Frame) -> None:
        kind, room, at = frame["type"], frame.get("room", NOWHERE), self._now()
        if "id" in frame:
            self._asked[frame["id"]] = frame
        if kind == "join":
            self.events.append(history.Joining(room, frame.get("since", "new"), at))
        elif kind == "leave":
            self.events.append(history.Leaving(room, at))
        elif "." in kind:
            key = frame["data"]["key"]
            durable = room != NOWHERE and not frame.get("ephemeral", False)
            fine, awaited = FINE.get(kind, ()), "id" in frame
            self.events.append(history.Sent(room, key, at, durable, fine, awaited))
            if "to" in frame or frame.get("echo") is False:
                self.targeted[key] = frame

    def lost(self, code: int | None) -> None:
        self.events.append(history.Lost(self._now(), code, self.parting))

    def broke(self) -> None:
        self.events.append(history.Broke(self._now()))

    # -- what it is told ---------------------------------------------------------------------------

    def heard(self, frame: Frame) -> None:
        kind = frame["type"]
        if kind in ("joined", "ack", "members", "history"):
            asked = self._asked.pop(frame.get("id", NOWHERE), None)
            if asked is None:
                refused = history.Refused(frame.get("room"), None, UNASKED, self._now())
                self.events.append(refused)
            else:
                self.events.append(self._answer(frame, asked))
        elif (event := self._event(frame)) is not None:
            self.events.append(event)

    def _answer(self, frame: Frame, asked: Frame) -> history.Event:
        room, data, at = frame.get("room", NOWHERE), frame.get("data"), self._now()
        match frame["type"], data:
            case "joined", dict():
                return self._joined(frame, asked)
            case "members", dict():
                here = sessions(data["members"])
                return history.Listed(room, data["seq"], here, data["count"], at)
            case "history", dict():
                told = tuple((one["seq"], self._content(one)) for one in data["events"])
                span = (asked.get("before"), asked.get("after"))
                return history.Read(room, *span, told, data["more"], at)
            case _:
                pass
        key, duplicate = asked["data"]["key"], frame.get("duplicate", False)
        return history.Acked(room, key, frame.get("seq"), at, duplicate)

    def _event(self, frame: Frame) -> history.Event | None:
        room, at = frame.get("room", NOWHERE), self._now()
        match frame["type"]:
            case "hello":
                return self._welcomed(frame["data"])
            case "error":
                return self._refused(frame)
            case "left":
                asked_for = self._asked.pop(frame.get("id", NOWHERE), None) is not None
                return history.Left(room, asked_for, at)
            case "gap":
                return history.GapTold(room, _gap(frame["data"]), at)
            case str(kind) if kind == "presence" or "." in kind:
                seq, prev = frame.get("seq"), frame.get("prev")
                return history.Heard(room, seq, prev, self._content(frame), at)
        return None

    def _content(self, frame: Frame) -> Content:
        content = Content.of(frame)
        return self._contents.setdefault(content, content)

    def _welcomed(self, hello: Frame) -> history.Opened:
        before, self._session = self._session, hello["session"]
        resumed = before == self._session
        return history.Opened(hello["node"], self._session, resumed, self._now())

    def _joined(self, frame: Frame, asked: Frame) -> history.Joined:
        data = frame["data"]
        gap = _gap(data["gap"]) if data["gap"] else None
        here, since = sessions(data["members"]), asked.get("since", "new")
        return history.Joined(
            frame["room"], data["epoch"], since, data["seq"], data["recovered"], gap,
            here, data["count"], self._now(),
        )  # fmt: skip

    def _refused(self, frame: Frame) -> history.Refused | history.Left:
        asked = self._asked.get(frame.get("id", NOWHERE), {})
        if asked.get("type") == "leave" and frame["error"]["code"] == "not_joined":
            # As good as left: it came back over this connection, and has not joined again yet.
            return history.Left(asked["room"], True, self._now())
        key = asked["data"]["key"] if "." in asked.get("type", "") else None
        room, code = frame.get("room", asked.get("room")), frame["error"]["code"]
        return history.Refused(room, key, code, self._now(), asked.get("type") == "join")


def _gap(gap: Frame) -> history.Gap:
    return history.Gap(gap["from"], gap["to"], gap["reason"])


class RecordedState(State):
    """The product's own client, watched."""

    def __init__(
        self,
        recorder: Recorder,
        new_id: Callable[[], str],
        chance: Callable[[], float],
        user: str,
    ) -> None:
        super().__init__(new_id, chance, user=user, name=user)
        self.recorder = recorder

    def due(self, now: float) -> list[bytes]:
        going = super().due(now)
        for data in going:
            self.recorder.sent(loads(data))
        return going

    def hear(self, frame: dict[str, Any], now: float) -> list[Outcome]:
        self.recorder.heard(frame)
        return super().hear(frame, now)

    def lost(
        self, now: float, code: int | None, reason: str, delay_ms: tuple[float, float] = (0, 0)
    ) -> float | None:
        if self.session.open:
            self.recorder.lost(code)
        return super().lost(now, code, reason, delay_ms)
