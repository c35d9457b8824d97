"""The cable between a node and its Redis: a TCP proxy in the test, to cut, to block and to mend.

A cut is noticed by both ends at once. A block is what a firewall or a dead switch does: nobody is
told, what is sent waits, and when the block ends it arrives, however late. Where only the answers
are blocked, the node can't know that what it asked for was done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio


class Cable:
    """Leads to a port of this machine. Open one with `open_cable`."""

    def __init__(self, target: int, port: int) -> None:
        self._target = target
        self._is_cut = False
        self._scopes: set[trio.CancelScope] = set()
        self._questions, self._answers = trio.Event(), trio.Event()
        self._held = trio.Event()
        self.port = port
        self.mend()

    @property
    def url(self) -> str:
        """The address of the first database behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Reset every connection, and refuse new ones, until it is mended."""
        self._is_cut = True
        for scope in self._scopes:
            scope.cancel(reason="the cable is cut")

    def block(self) -> None:
        """Let nothing pass in either direction, and tell nobody."""
        self.block_answers()
        self._questions = trio.Event()

    def block_answers(self) -> None:
        """Let what the node asks for pass, and not one answer."""
        self.mend()
        self._answers = trio.Event()
        self._held = trio.Event()

    def mend(self) -> None:
        """Let everything pass again: first what was waiting."""
        self._is_cut = False
        self._questions.set()
        self._answers.set()

    def lead_to(self, target: int) -> None:
        """Lead new connections to another port. Those that there are stay where they are."""
        self._target = target

    async def wait_for_a_held_answer(self) -> None:
        """Wait until an answer that is blocked has arrived here."""
        await self._held.wait()

    async def connect(self, near: trio.SocketStream) -> None:
        """Take a connection to its other end, until one of them closes it."""
        if self._is_cut:
            return
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                far = await trio.open_tcp_stream("127.0.0.1", self._target)
            except OSError:
                pass  # Nobody is there, and the node sees its end closed.
            else:
                await self._join(near, far, scope)
            finally:
                self._scopes.discard(scope)

    async def _join(
        self, near: trio.SocketStream, far: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        async def pass_on(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            with suppress(trio.BrokenResourceError):
                async for chunk in source:
                    if source is far:
                        self._held.set()
                    await (self._answers if source is far else self._questions).wait()
                    await sink.send_all(chunk)
            scope.cancel(reason="one end has closed, so the other is closed, too")

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, near, far)
                nursery.start_soon(pass_on, far, near)
        finally:
            await trio.aclose_forcefully(far)


@asynccontextmanager
async def open_cable(target: int) -> AsyncIterator[Cable]:
    """Lay a cable to a port; it is gone when the block ends."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    cable = Cable(target, listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, cable.connect, [listener])
        yield cable
        nursery.cancel_scope.cancel(reason="the test is over")
