"""A client of the chat, over any Trio stream: join, say, listen, and come back by itself.

    async with connect("http://127.0.0.1:8000/chat/lobby/", name="alice") as chat:
        await chat.say("hello")
        async for event in chat:
            print(event)

The modules, from the ground up:

    address   what people type, and where the socket is
    events    what the server says
    comeback  what is remembered between two connections, and when to come back
    link      one WebSocket, opened, kept alive and closed
    backlog   events that wait to be taken
    outgoing  messages that wait for their receipt
    member    a life in a room, over as many connections as it takes
    chat      what people hold of that
    plain     the tutorial's dialect
"""

from .address import Address, BadAddress, parse_address
from .chat import Chat, connect, connect_over, connect_stream
from .events import (
    Deleted,
    Event,
    Joined,
    Left,
    Message,
    Receipt,
    Reconnected,
    Reconnecting,
    Typing,
    Welcome,
)
from .link import Dial, Disconnected
from .outgoing import Overrun, Refused
from .plain import Plain, PlainError, connect_plain, connect_plain_stream

__all__ = [
    "Address",
    "BadAddress",
    "Chat",
    "Deleted",
    "Dial",
    "Disconnected",
    "Event",
    "Joined",
    "Left",
    "Message",
    "Overrun",
    "Plain",
    "PlainError",
    "Receipt",
    "Reconnected",
    "Reconnecting",
    "Refused",
    "Typing",
    "Welcome",
    "connect",
    "connect_over",
    "connect_plain",
    "connect_plain_stream",
    "connect_stream",
    "parse_address",
]
