"""Bytes to frames and back: the only modules that know JSON and msgpack."""
