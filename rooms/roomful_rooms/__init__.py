"""Rooms as actors: what an author writes, and what runs it. Names no broker and no socket."""
