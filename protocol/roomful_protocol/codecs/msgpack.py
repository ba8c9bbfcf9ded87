"""The sub-protocol `roomful.v1.msgpack`: binary messages, the same frames, and bytes in `data`."""

from typing import Any, Final

import msgpack

from roomful_protocol.codecs.codec import BINARY
from roomful_protocol.codecs.inbound import Tree, frame_of, id_of
from roomful_protocol.codecs.json import loads, unique
from roomful_protocol.codecs.tree import check_plain
from roomful_protocol.codecs.values import pack
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import ClientFrame, Frame


class MsgpackCodec:
    """Refuses what JSON could not say, bytes excepted: others in the room may use JSON."""

    subprotocol = "roomful.v1.msgpack"
    opcode = BINARY

    def decode(self, raw: bytes) -> ClientFrame:
        try:
            tree = msgpack.unpackb(raw, object_pairs_hook=_object)
        except (ValueError, TypeError, RecursionError) as problem:
            reason = str(problem) or type(problem).__name__
            raise Refused(Code.BAD_FRAME, f"Not valid msgpack: {reason}.") from None
        if type(tree) is not dict:
            raise Refused(Code.BAD_FRAME, "A frame must be a msgpack map.")
        try:
            check_plain(tree)
        except Refused as refused:
            refused.id = id_of(tree)
            raise
        return frame_of(tree)

    def encode(self, frame: Frame) -> bytes:
        return pack(frame)

    def shown(self, frame_json: bytes) -> bytes:
        return pack(loads(frame_json))


def _object(pairs: list[tuple[Any, Any]]) -> Tree:
    for key, _ in pairs:
        if type(key) is not str:
            raise Refused(Code.BAD_FRAME, "The keys of a map must be strings.")
    return unique(pairs)


MSGPACK: Final = MsgpackCodec()
