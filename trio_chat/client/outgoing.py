"""What a client says, from `say` to the server's answer, over as many connections as that takes.

A message waits with its sender until a connection takes it, and is kept until it is answered: a
connection that breaks leaves its unanswered messages to the next one, which sends them again under
the same `id`. The server takes each `id` once.
"""

from __future__ import annotations

import enum
import math
import uuid
from types import TracebackType
from typing import Final, assert_never

import orjson
import trio

from ..protocol import TYPING_INTERVAL, CloseCode, Ending, ErrorCode
from .backlog import FULL, Backlog
from .events import Receipt, Refusal
from .link import Disconnected, Link

# Messages of one client that may be under way at once. The server hangs up after 20 errors in a
# row, and each message that came too fast is answered with one.
WINDOW: Final = 16
RETRY_AFTER: Final = 1.0  # seconds, where the server does not say
LEFT: Final = Ending(CloseCode.NORMAL, "this client has left")


class Refused(Exception):
    """The server did not accept a message; the connection stays.

    After `history-unavailable` the message can be said again with the same `id`.
    """

    def __init__(self, code: str, reason: str, id: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.id = id


class Overrun(Exception):
    """Too many events wait to be taken, so the receipt can't be read.

    Whether the message was accepted is not known. Take events, then say it again with its `id`; or
    take them in a task of their own.
    """

    def __init__(self, id: str) -> None:
        super().__init__(f"{FULL} events wait to be taken before the receipt of {id}")
        self.id = id


class _Loss(enum.Enum):
    """Why there will be no answer from the server."""

    DISCONNECTED = enum.auto()
    OVERRUN = enum.auto()


_Answer = Receipt | Refusal | _Loss


class _Message:
    """A message that was said, and its answer once there is one."""

    def __init__(self, frame: str) -> None:
        self.frame = frame
        self.handed_over = False  # to a connection, at least once
        self.answer: _Answer | None = None
        self.answered = trio.Event()

    def resolve(self, answer: _Answer) -> None:
        self.answer = answer
        self.answered.set()


class _Typing:
    """News that need no answer."""

    frame: Final = '{"type":"typing"}'


class Outgoing:
    """Everything that one client is saying. Closing it says that it will not come back."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        # Capacity 0: a message is handed to a connection, or waits with its sender.
        self._hand_over, self._taken = trio.open_memory_channel[_Message | _Typing](0)
        self._unanswered: dict[str, _Message] = {}
        self._window = trio.Semaphore(WINDOW)
        self._slow_lane = trio.StrictFIFOLock()
        self._last_typing = -math.inf
        self.ending: Ending | None = None

    def __enter__(self) -> Outgoing:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taken.close()
        self._resolve_all(_Loss.DISCONNECTED)

    # --- For those who say something ---

    async def say(self, text: str, id: str | None) -> Receipt:
        """See `Chat.say`."""
        id = str(uuid.uuid4()) if id is None else id
        frame = _encode(text, id)
        async with self._window:
            answer = await self._ask(id, frame)
            if _pause_asked_for(answer) is not None:
                # One at a time: what was refused together would be refused together again.
                async with self._slow_lane:
                    while (pause := _pause_asked_for(answer)) is not None:
                        await trio.sleep(pause)
                        answer = await self._ask(id, frame)
        match answer:
            case Receipt():
                return answer
            case Refusal(code, reason):
                raise Refused(code, reason, id)
            case _Loss.OVERRUN:
                raise Overrun(id)
            case _Loss.DISCONNECTED:
                raise Disconnected(self.ending or LEFT)
            case _:
                assert_never(answer)

    async def _ask(self, id: str, frame: str) -> _Answer:
        if id in self._unanswered:
            raise ValueError(f"a message with the id {id!r} is under way")
        if self._backlog.full:
            return _Loss.OVERRUN
        message = self._unanswered[id] = _Message(frame)
        self._backlog.stir()  # A receipt is awaited, so reading must go on.
        try:
            await self._hand_over.send(message)
            await message.answered.wait()
        except trio.BrokenResourceError:
            return _Loss.DISCONNECTED
        finally:
            del self._unanswered[id]
        assert message.answer is not None
        return message.answer

    async def typing(self) -> None:
        """See `Chat.typing`."""
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        if now < self._last_typing + TYPING_INTERVAL:
            return
        try:
            self._hand_over.send_nowait(_Typing())
        except trio.WouldBlock:
            return
        except trio.BrokenResourceError:
            raise Disconnected(self.ending or LEFT) from None
        self._last_typing = now

    # --- For the connection of the day ---

    @property
    def awaits_answers(self) -> bool:
        """Whether somebody waits for what the server answers."""
        return bool(self._unanswered)

    async def write(self, link: Link) -> None:
        """Send what the last connection left unanswered, then what is said from now on.

        If cancelled, or when the link ends, what is unanswered is left to the next link.
        """
        try:
            for message in list(self._unanswered.values()):
                if message.handed_over and not message.answered.is_set():
                    await link.send(message.frame)
            async for item in self._taken:
                if isinstance(item, _Message):
                    item.handed_over = True
                await link.send(item.frame)
        except Disconnected:
            pass  # Whoever reads finds out as well, and behind all that came before.

    def take_answer(self, answer: Receipt | Refusal) -> None:
        """Give an answer of the server to whoever waits for it."""
        if answer.id is not None:
            message = self._unanswered.get(answer.id)
            if message is not None:
                message.resolve(answer)
        elif answer.code == ErrorCode.RATE_LIMITED:
            # It does not say which, so each is sent again: none is published twice.
            for message in self._unanswered.values():
                if message.handed_over:
                    message.resolve(answer)

    def overrun(self) -> None:
        """Tell everybody that the answers can't be read."""
        self._resolve_all(_Loss.OVERRUN)

    def _resolve_all(self, loss: _Loss) -> None:
        for message in self._unanswered.values():
            message.resolve(loss)


def _encode(text: str, id: str) -> str:
    try:
        return orjson.dumps({"type": "message", "message": text, "id": id}).decode()
    except TypeError:
        raise ValueError("a message can't hold half of a surrogate pair") from None


def _pause_asked_for(answer: _Answer) -> float | None:
    match answer:
        case Refusal(code=ErrorCode.RATE_LIMITED, retry_after=pause):
            return RETRY_AFTER if pause is None else max(pause, 0.0)
        case _:
            return None
