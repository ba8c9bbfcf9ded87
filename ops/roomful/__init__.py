"""Roomful: what the author of a room imports."""
