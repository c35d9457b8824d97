"""Who is in a room: places, names, and who of them the hub writes to.

A member goes through three states: it has a place (and a name, in the v1 dialect), it catches up
with the history while the hub collects the news that it misses, and it is live. All of it is
synchronous, so what this table says is always true.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Final

from .protocol import CloseCode, Dialect, Ending, fold_name, guest_name, unique_name

REPLACED: Final = Ending(CloseCode.REPLACED, "replaced by a newer connection of this member")

Offer = Callable[[bytes, int], bool]


class Member:
    """What a room knows of one connection."""

    __slots__ = ("dialect", "end", "missed", "name", "offer", "secret", "shut", "typed")

    def __init__(
        self,
        dialect: Dialect,
        *,
        offer: Offer,
        shut: Callable[[str], None],
        end: Callable[[Ending], None],
    ) -> None:
        self.offer = offer  # Send frames, or queue them. Never raises.
        self.shut = shut  # Take no more offers, for this reason.
        self.end = end  # End the conversation. The first ending counts.
        self.dialect = dialect
        self.name: str | None = None  # The plain dialect has no names.
        self.secret = ""  # What a later connection shows to take this place over.
        # News for the time when the history has been read up to the number beside them.
        self.missed: list[tuple[int, bytes]] = []
        self.typed = -1e9  # when it was last said that this member types


def new_secret() -> str:
    """Return what a later connection shows to take a place over."""
    return secrets.token_urlsafe(16)


class Roster:
    """The members of one room."""

    def __init__(self) -> None:
        self._all: dict[Member, None] = {}
        self._by_name: dict[str, Member] = {}  # by the name's folded form
        self._by_secret: dict[str, Member] = {}
        self._announced: dict[str, None] = {}  # the names whose `join` is out
        self._newcomers: dict[Member, None] = {}
        # An enum hashes in Python, and the hub asks with every batch: so these are two attributes.
        self.live_plain: dict[Member, Offer] = {}
        self.live_v1: dict[Member, Offer] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._all))

    @property
    def announced(self) -> int:
        """How many names are out."""
        return len(self._announced)

    def place(self, member: Member) -> None:
        """Give a plain member its place."""
        self._all[member] = None

    def place_named(self, member: Member, wanted: str | None, resume: str | None) -> bool:
        """Give a v1 member its place and name; return whether it took over another's.

        With the secret of a member who still has a place, that place and name are taken over, and
        the older connection ends.
        """
        self._all[member] = None
        member.secret = new_secret()
        self._by_secret[member.secret] = member
        older = self._by_secret.pop(resume, None) if resume else None
        if older is not None and older.name is not None:
            name, older.name = older.name, None
            older.end(REPLACED)
        else:
            name = unique_name(wanted or guest_name(), self._by_name)
        member.name = name
        self._by_name[fold_name(name)] = member
        return older is not None

    def place_claimed(self, member: Member, name: str) -> None:
        """Give a v1 member its place, and the name that was claimed for it among all nodes."""
        self._all[member] = None
        self._by_secret[member.secret] = member
        self.dismiss(name, REPLACED)
        member.name = name
        self._by_name[fold_name(name)] = member

    def dismiss(self, name: str, ending: Ending) -> None:
        """End the member of that name, if it is here; the name is another's, so none is freed."""
        if (member := self._by_name.pop(fold_name(name), None)) is not None:
            member.name = None
            member.end(ending)

    def begin(self, member: Member) -> list[str]:
        """Collect news for a v1 member from now on; return the names that are out, and its own."""
        self._newcomers[member] = None
        return sorted({*self._announced, *([member.name] if member.name else [])})

    def enter(self, member: Member) -> None:
        """Let the hub write to this member from now on."""
        self._newcomers.pop(member, None)
        self.live(member.dialect)[member] = member.offer

    def leave(self, member: Member) -> str | None:
        """Take a member out, whatever its state; return the name to `free`, if there is one."""
        # All in one step: an offer to a wire whose nursery is closing would start a writer there.
        member.shut("left")
        del self._all[member]
        self._by_secret.pop(member.secret, None)
        self._newcomers.pop(member, None)
        self.live(member.dialect).pop(member, None)
        return member.name

    def free(self, name: str) -> None:
        """Let others have the name, now that the news of the `leave` is on its way.

        Not before: a namesake's `join` would overtake it, and who is there would seem to have gone.
        """
        del self._by_name[fold_name(name)]

    # --- The hub's side --------------------------------------------------------------------------

    def named(self, name: str) -> Member | None:
        """Return the member of that name."""
        return self._by_name.get(fold_name(name))

    def announce(self, name: str, *, elsewhere: bool = False) -> bool:
        """Note that a `join` goes out; return whether it has to.

        Who has left again is not announced; of those who may be `elsewhere` nobody here can tell.
        """
        if name in self._announced or not (elsewhere or fold_name(name) in self._by_name):
            return False
        self._announced[name] = None
        return True

    def withdraw(self, name: str) -> bool:
        """Note that a `leave` goes out; return whether a `join` did before."""
        if name not in self._announced:
            return False
        del self._announced[name]
        return True

    def live(self, dialect: Dialect) -> dict[Member, Offer]:
        """Return whom the hub writes to. Take a copy before awaiting."""
        return self.live_plain if dialect is Dialect.PLAIN else self.live_v1

    def keep_for_newcomers(self, seq: int, frame: bytes, but: Member | None) -> None:
        """Keep news for those who have not read the history up to `seq` yet."""
        for member in self._newcomers:
            if member is not but:
                member.missed.append((seq, frame))
