"""Commands to the owners of rooms and their answers back, wherever the rooms are.

A room of this node is called directly; for other nodes, all commands of one turn of the loop leave
in one message per owner. What is not answered in time, bounces, or comes back as `Moved` is asked
again, of whoever owns the room by then, under the same number, until the deadline: so nobody sees a
room move. Nothing here is remembered when it is answered.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import structlog

from roomful_nodes.batches import Batches, in_parts
from roomful_nodes.bus import Bus, Message
from roomful_nodes.lane import Answered, Lane
from roomful_nodes.metrics import Metrics
from roomful_nodes.retries import Retries
from roomful_protocol.codecs.internode import (
    pack_answers,
    pack_commands,
    unpack_answers,
    unpack_commands,
)
from roomful_protocol.errors import Code
from roomful_protocol.ids import NodeId, RoomName
from roomful_protocol.messages import (
    Accepted,
    Answer,
    Ask,
    Command,
    Denied,
    Moved,
    Sender,
)
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock
from roomful_rooms.host import RoomHost
from roomful_rooms.log import Following

ATTEMPT_S = 1.0
"""So long another node may take before it is asked again."""
SWEEP_S = 0.1
OUTSTANDING = 20_000
"""Commands of this node that may wait for answers; beyond, clients are told `busy`."""
BATCHES = 4096
"""Batches remembered, in case the broker says that nobody heard them."""
UNAVAILABLE = Denied(
    Code.UNAVAILABLE.slug, "No node answered for this room in time. Retry with the same id.", 1000
)
BUSY = Denied(Code.BUSY.slug, "This node waits for too many answers; try again in a moment.", 500)

log = structlog.get_logger()


class _Question(Command, eq=False, gc=True):
    """A command of this node on its way, asked of `asked_of` last. `due`: by when there should be
    an answer, None if that is certain."""

    router: "Router"
    lane: Lane
    answered: Answered
    reference: int
    asked: float
    due: float | None = None
    batch: str = ""
    asked_of: NodeId | None = None

    def settle(self, answer: Answer) -> None:
        """Pass on the answer, if it is the first; ask again if the room has moved."""
        router = self.router
        metrics = router.metrics
        if isinstance(answer, Accepted):
            tally = metrics.commands_duplicate if answer.duplicate else metrics.commands_accepted
        elif isinstance(answer, Denied):
            tally = metrics.commands_denied
        elif isinstance(answer, Moved):
            router.moved(self)
            return
        else:
            tally = metrics.commands_accepted
        if router.pending.pop(self.reference, None) is None:
            return
        tally.count += 1
        metrics.command_seconds.observe(router.now() - self.asked)
        if router.retries.lanes:
            router.retries.settled(self)
        self.lane.settle(self.n, self.answered, answer)


class Router:
    """This node's way to all rooms, and other nodes' way to the rooms of this one.

    `owner` names the living owner of a room, or None while there is none.
    """

    def __init__(
        self,
        node: NodeId,
        host: RoomHost,
        bus: Bus,
        subjects: Subjects,
        *,
        owner: Callable[[RoomName], NodeId | None],
        clock: Clock,
        metrics: Metrics,
        deadline_s: float = 10,
    ) -> None:
        self._node, self._host, self._bus, self._subjects = node, host, bus, subjects
        self._owner, self.now, self.metrics = owner, clock.monotonic, metrics
        self._deadline_s = deadline_s
        # By reference, and so in the order in which they were asked.
        self.pending: dict[int, _Question] = {}
        self.retries: Retries[_Question] = Retries(self._again)
        # What is still under way to another node of our name, one that is gone, names none of ours.
        self._reference = clock.wall_ms() << 20
        self._sent: OrderedDict[str, list[int]] = OrderedDict()
        self._commands: Batches[NodeId, tuple[int, Command]] = Batches(self._send_commands)
        self._answers: Batches[NodeId, tuple[int, Answer]] = Batches(self._send_answers)
        self._following: list[Following] = []
        self._sweeping: asyncio.TimerHandle | None = None
        # For all lanes: made once, not for each.
        self._sends = self.send

    async def start(self) -> None:
        """Listen for commands and answers. Returns when the broker knows."""
        for subject, heard in (
            (self._subjects.commands(self._node), self._hear_commands),
            (self._subjects.answers(self._node), self._hear_answers),
            (self._subjects.bounced(self._node, "*"), self._hear_bounced),
        ):
            self._following.append(await self._bus.subscribe(subject, heard))

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for following in self._following:
            await following.close()

    # -- asking ------------------------------------------------------------------------------------

    def lane(self, room: RoomName, sender: Sender) -> Lane:
        """A fresh numbering for one attachment of a session to one room."""
        return Lane(room, sender, self._sends)

    async def request(self, room: RoomName, sender: Sender, ask: Ask) -> Answer:
        """One question outside any lane's numbering."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answered(given: Answer) -> None:
            if not answer.done():
                answer.set_result(given)

        self.send(self.lane(room, sender), ask, 0, answered)
        return await answer

    def send(self, lane: Lane, ask: Ask, n: int, answered: Answered) -> None:
        """Ask on behalf of `lane`, until there is an answer or the deadline has passed."""
        if len(self.pending) >= OUTSTANDING:
            lane.settle(n, answered, BUSY)
            return
        self._reference = reference = self._reference + 1
        question = self.pending[reference] = _Question(
            lane.room, lane.sender, ask, n, lane.base, self, lane, answered, reference, self.now()
        )
        if self._sweeping is None:
            self._sweep_later()
        if self.retries.lanes and n and self.retries.hold(lane):
            self.retries.add(question)
        else:
            self._attempt(question)

    def _attempt(self, question: _Question) -> None:
        owner = question.asked_of = self._owner(question.room)
        if owner == self._node:
            # Our own room answers for certain: it needs no second attempt, only the deadline.
            self._host.receive(question, question.settle)
        elif owner is None:
            self._retry(question)
        else:
            question.due = self.now() + ATTEMPT_S
            self._commands.add(owner, (question.reference, question))

    def _again(self, question: _Question) -> None:
        question.base, question.due = question.lane.base, None
        self._attempt(question)

    def look(self) -> None:
        """Rooms may have other owners now: whoever waits for that need not wait any longer."""
        self.retries.hurry(lambda one: self._owner(one.room) != one.asked_of)

    def _retry(self, question: _Question) -> None:
        question.due = None
        self.retries.add(question)

    def moved(self, question: _Question) -> None:
        """Its room was not where it was asked for."""
        if question.reference in self.pending:
            self.metrics.commands_moved.inc()
            self._retry(question)

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Give up what is past its deadline; ask again where another node has gone quiet."""
        self._sweeping = None
        if self.pending:
            self._sweep_later()
        now = self.now()
        for question in list(self.pending.values()):
            if now - question.asked >= self._deadline_s:
                question.settle(UNAVAILABLE)
            elif question.due is not None and now > question.due + SWEEP_S:
                self._again(question)

    # -- between nodes -----------------------------------------------------------------------------

    def _send_commands(self, owner: NodeId, batch: list[tuple[int, Command]]) -> None:
        for commands, payload in in_parts(batch, pack_commands):
            self._reference += 1
            name = f"{self._reference:x}"
            self._sent[name] = references = [reference for reference, _ in commands]
            for reference in references:
                if (question := self.pending.get(reference)) is not None:
                    question.batch = name
            bounce = self._subjects.bounced(self._node, name)
            self._bus.publish(self._subjects.commands(owner), payload, bounce)
        while len(self._sent) > BATCHES:
            self._sent.popitem(last=False)

    def _hear_bounced(self, message: Message) -> None:
        """Nobody was there: the owner has gone, and the directory will soon name another."""
        name = message.subject.rpartition(".")[2]
        for reference in self._sent.pop(name, ()):
            question = self.pending.get(reference)
            if question is not None and question.batch == name:
                self._retry(question)

    def _hear_commands(self, message: Message) -> None:
        for reference, command in unpack_commands(message.payload):
            self._receive(reference, command)

    def _receive(self, reference: int, command: Command) -> None:
        gateway = command.sender.node
        self._host.receive(command, lambda answer: self._answers.add(gateway, (reference, answer)))

    def _send_answers(self, gateway: NodeId, batch: list[tuple[int, Answer]]) -> None:
        for _, payload in in_parts(batch, pack_answers):
            self._bus.publish(self._subjects.answers(gateway), payload)

    def _hear_answers(self, message: Message) -> None:
        for reference, answer in unpack_answers(message.payload):
            if (question := self.pending.get(reference)) is not None:
                question.settle(answer)
