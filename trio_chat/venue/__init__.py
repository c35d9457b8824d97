"""A place to meet: a running server and guests, in one nursery, over TCP or over memory streams.

What `trio_chat.testing` makes fixtures of, and what the lessons play on. It needs no pytest.
"""

from .guests import PATIENCE, Guest, PlainGuest
from .venues import LOBBY, Venue, open_room, open_server

__all__ = ["LOBBY", "PATIENCE", "Guest", "PlainGuest", "Venue", "open_room", "open_server"]
