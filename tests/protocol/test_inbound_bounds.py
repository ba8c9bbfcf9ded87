"""What clients make up is not kept: only what could be a name is looked up."""

import json

import pytest

from roomful_protocol.codecs import JSON
from roomful_protocol.codecs.inbound import TYPE_CHARACTERS, _builder
from roomful_protocol.errors import Refused


def test_types_that_are_too_long_are_refused_without_being_kept() -> None:
    before = _builder.cache_info().currsize
    for number in range(10):
        kind = f"chat.{number}{'x' * TYPE_CHARACTERS}"
        with pytest.raises(Refused):
            JSON.decode(json.dumps({"type": kind}).encode())
    assert _builder.cache_info().currsize == before
