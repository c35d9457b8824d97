"""The same aiohttp server on uvloop."""

from __future__ import annotations

import uvloop
from aiohttp import web

from .aiohttp import application
from .arguments import port

if __name__ == "__main__":
    web.run_app(
        application(),
        host="127.0.0.1",
        port=port(),
        print=None,
        loop=uvloop.new_event_loop(),
    )
