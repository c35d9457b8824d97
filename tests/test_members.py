"""A room's roster: names, places, who is announced and who is written to, against plain tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from trio_chat.members import REPLACED, Member, Roster
from trio_chat.protocol import Dialect, Ending, fold_name

PLAIN, V1 = Dialect.PLAIN, Dialect.V1


class Line:
    """A connection that only notes what is done to it."""

    def __init__(self, dialect: Dialect = V1) -> None:
        self.offered: list[bytes] = []
        self.endings: list[Ending] = []
        self.shut_for: list[str] = []
        self.member = Member(
            dialect, offer=self.offer, shut=self.shut_for.append, end=self.endings.append
        )

    def offer(self, data: bytes, deliveries: int) -> bool:
        self.offered.append(data)
        return True


def come(roster: Roster, wanted: str | None = None, resume: str | None = None) -> Line:
    line = Line()
    roster.place_named(line.member, wanted, resume)
    return line


def name_of(line: Line) -> str:
    assert line.member.name is not None
    return line.member.name


@pytest.fixture
def roster() -> Roster:
    return Roster()


# --- Places and names ----------------------------------------------------------------------------


def test_a_plain_member_has_a_place_and_no_name(roster: Roster) -> None:
    plain = Line(PLAIN).member
    roster.place(plain)
    assert (len(roster), list(roster), plain.name) == (1, [plain], None)


def test_a_member_gets_the_name_that_it_wants(roster: Roster) -> None:
    ada = come(roster, "Ada")
    assert name_of(ada) == "Ada"
    assert roster.named("ADA") is ada.member


def test_a_taken_name_gets_a_number(roster: Roster) -> None:
    assert [name_of(come(roster, name)) for name in ("Ada", "ada", "ＡＤＡ")] == [
        "Ada",
        "ada-2",
        "ＡＤＡ-3",
    ]


def test_who_wants_no_name_is_a_guest(roster: Roster) -> None:
    assert name_of(come(roster)).startswith("guest-")


def test_secrets_are_long_and_each_is_another(roster: Roster) -> None:
    secrets = {come(roster, "Ada").member.secret for _ in range(20)}
    assert len(secrets) == 20
    assert min(map(len, secrets)) >= 20


def test_a_member_that_leaves_is_written_to_no_more(roster: Roster) -> None:
    ada = come(roster, "Ada")
    roster.enter(ada.member)
    assert roster.leave(ada.member) == "Ada"
    assert ada.shut_for == ["left"]
    assert roster.live(V1) == {}
    assert list(roster) == []


def test_a_name_is_taken_until_its_leave_is_on_the_way(roster: Roster) -> None:
    roster.leave(come(roster, "Ada").member)
    assert name_of(come(roster, "Ada")) == "Ada-2"
    roster.free("Ada")
    assert name_of(come(roster, "Ada")) == "Ada"


def test_a_plain_member_leaves_no_name_behind(roster: Roster) -> None:
    plain = Line(PLAIN).member
    roster.place(plain)
    roster.enter(plain)
    assert roster.leave(plain) is None
    assert (len(roster), roster.live(PLAIN)) == (0, {})


def test_members_may_leave_while_one_walks_over_them(roster: Roster) -> None:
    lines = [come(roster) for _ in range(3)]
    for member in roster:
        roster.leave(member)
    assert len(roster) == 0
    assert [line.shut_for for line in lines] == [["left"]] * 3


# --- Taking over ---------------------------------------------------------------------------------


def test_a_secret_takes_over_place_and_name_and_ends_the_older(roster: Roster) -> None:
    older, newer = come(roster, "Ada"), Line()
    assert roster.place_named(newer.member, "somebody else", older.member.secret)
    assert name_of(newer) == "Ada"
    assert roster.named("Ada") is newer.member
    assert older.endings == [REPLACED]
    assert REPLACED.code == 4006


def test_who_was_replaced_leaves_without_its_name(roster: Roster) -> None:
    older = come(roster, "Ada")
    newer = come(roster, None, older.member.secret)
    assert roster.leave(older.member) is None
    assert roster.named("Ada") is newer.member
    assert list(roster) == [newer.member]


def test_a_secret_counts_once(roster: Roster) -> None:
    older = come(roster, "Ada")
    secret = older.member.secret
    newer, third = come(roster, None, secret), Line()
    assert not roster.place_named(third.member, "Ada", secret)
    assert name_of(third) == "Ada-2"
    assert newer.endings == []
    assert len(older.endings) == 1


def test_the_newer_one_has_a_secret_of_its_own_to_be_taken_over_by(roster: Roster) -> None:
    older = come(roster, "Ada")
    newer = come(roster, None, older.member.secret)
    third = come(roster, None, newer.member.secret)
    assert name_of(third) == "Ada"
    assert newer.endings == [REPLACED]


@pytest.mark.parametrize("secret", ["", "guess"])
def test_a_secret_that_nobody_has_is_a_fresh_join(roster: Roster, secret: str) -> None:
    plain = Line(PLAIN).member
    roster.place(plain)
    fresh = Line()
    assert not roster.place_named(fresh.member, "Ada", secret)
    assert name_of(fresh) == "Ada"


def test_the_secret_of_one_who_left_is_worth_nothing(roster: Roster) -> None:
    gone = come(roster, "Ada")
    roster.leave(gone.member)
    fresh = Line()
    assert not roster.place_named(fresh.member, "Bob", gone.member.secret)
    assert gone.endings == []
    assert name_of(fresh) == "Bob"


def test_nobody_takes_over_a_place_with_the_secret_of_another_room() -> None:
    elsewhere = come(Roster(), "Ada")
    here = Roster()
    fresh = Line()
    assert not here.place_named(fresh.member, "Bob", elsewhere.member.secret)
    assert elsewhere.endings == []


# --- The news ------------------------------------------------------------------------------------


def test_a_welcome_lists_the_names_that_are_out_and_its_own(roster: Roster) -> None:
    for name in ("Zoe", "Bob", "Eve"):
        come(roster, name)
        roster.announce(name)
    come(roster, "not yet announced")
    assert roster.begin(come(roster, "Ada").member) == ["Ada", "Bob", "Eve", "Zoe"]


def test_a_name_that_was_taken_over_is_listed_once(roster: Roster) -> None:
    older = come(roster, "Ada")
    roster.announce("Ada")
    assert roster.begin(come(roster, None, older.member.secret).member) == ["Ada"]


def test_who_is_taken_over_while_arriving_lists_no_name_of_its_own(roster: Roster) -> None:
    older = come(roster, "Ada")
    come(roster, None, older.member.secret)
    assert roster.begin(older.member) == []


def test_a_join_is_news_while_its_member_is_there(roster: Roster) -> None:
    come(roster, "Ada")
    assert roster.announce("Ada")
    assert roster.announced == 1


def test_a_join_of_somebody_who_has_gone_again_is_no_news(roster: Roster) -> None:
    roster.leave(come(roster, "Ada").member)
    roster.free("Ada")
    assert not roster.announce("Ada")
    assert roster.announced == 0


def test_a_leave_is_news_if_the_join_was(roster: Roster) -> None:
    come(roster, "Ada")
    assert not roster.withdraw("Ada")
    roster.announce("Ada")
    assert roster.withdraw("Ada")
    assert not roster.withdraw("Ada")
    assert roster.announced == 0


def test_news_is_kept_for_those_who_still_read_the_history(roster: Roster) -> None:
    early, late, live = come(roster), come(roster), come(roster)
    roster.enter(live.member)
    roster.begin(early.member)
    roster.keep_for_newcomers(7, b"one", None)
    roster.begin(late.member)
    roster.keep_for_newcomers(9, b"two", None)
    assert early.member.missed == [(7, b"one"), (9, b"two")]
    assert late.member.missed == [(9, b"two")]
    assert live.member.missed == []


def test_nobody_is_told_news_of_itself(roster: Roster) -> None:
    ada, bob = come(roster), come(roster)
    roster.begin(ada.member)
    roster.begin(bob.member)
    roster.keep_for_newcomers(7, b"ada", ada.member)
    assert (ada.member.missed, bob.member.missed) == ([], [(7, b"ada")])


@pytest.mark.parametrize("step", [Roster.enter, Roster.leave])
def test_news_is_kept_until_the_history_is_read_or_the_member_gone(
    roster: Roster, step: Callable[[Roster, Member], object]
) -> None:
    ada = come(roster, "Ada")
    roster.begin(ada.member)
    step(roster, ada.member)
    roster.keep_for_newcomers(7, b"one", None)
    assert ada.member.missed == []


def test_the_hub_writes_to_live_members_by_dialect(roster: Roster) -> None:
    plain, ada = Line(PLAIN), come(roster, "Ada")
    roster.place(plain.member)
    assert (roster.live(PLAIN), roster.live(V1)) == ({}, {})
    roster.enter(plain.member)
    roster.enter(ada.member)
    roster.live(PLAIN)[plain.member](b"hello", 1)
    assert (plain.offered, ada.offered) == ([b"hello"], [])
    assert list(roster.live(V1)) == [ada.member]


# --- Against a model -----------------------------------------------------------------------------


class ARoom(RuleBasedStateMachine):
    """Whatever order they come and go in, two tables say who is there under which name."""

    lines = Bundle("lines")
    gone = Bundle("gone")

    def __init__(self) -> None:
        super().__init__()
        self.roster = Roster()
        self.there: dict[Line, str | None] = {}
        self.live: list[Line] = []
        self.secrets: dict[str, Line] = {}
        self.held: dict[str, str] = {}  # names taken, by their folded form
        self.out: set[str] = set()  # names announced

    @rule(target=lines)
    def come_plain(self) -> Line:
        line = Line(PLAIN)
        self.roster.place(line.member)
        self.there[line] = None
        return line

    @rule(target=lines, wanted=st.none() | st.sampled_from(["Ada", "ADA", "Ada-2", "é", "x" * 32]))
    def come_named(self, wanted: str | None) -> Line:
        line = Line()
        assert not self.roster.place_named(line.member, wanted, None)
        name = name_of(line)
        assert fold_name(name) not in self.held
        assert wanted is None or fold_name(wanted) in self.held or name == wanted
        self.note(line, name)
        return line

    @rule(target=lines, older=st.one_of(lines, gone))
    def come_again(self, older: Line) -> Line:
        line, secret = Line(), older.member.secret
        expected = self.secrets.pop(secret, None)
        assert self.roster.place_named(line.member, "again", secret) == (expected is not None)
        if expected is not None:
            assert expected.endings == [REPLACED]
            assert name_of(line) == self.there[expected]
            self.there[expected] = None
        self.note(line, name_of(line))
        return line

    def note(self, line: Line, name: str) -> None:
        self.there[line] = name
        self.held[fold_name(name)] = name
        self.secrets[line.member.secret] = line

    @rule(line=lines)
    def begin(self, line: Line) -> None:
        if line.member.dialect is V1 and line not in self.live:
            own = self.there[line]
            assert self.roster.begin(line.member) == sorted(self.out | ({own} if own else set()))

    @rule(line=lines)
    def enter(self, line: Line) -> None:
        if line not in self.live:
            self.roster.enter(line.member)
            self.live.append(line)

    @rule(line=lines)
    def announce(self, line: Line) -> None:
        name = self.there[line]
        if name is not None:
            assert self.roster.announce(name) is (name not in self.out)
            self.out.add(name)

    @rule(target=gone, line=consumes(lines))
    def leave(self, line: Line) -> Line:
        name = self.there.pop(line)
        self.live = [other for other in self.live if other is not line]
        self.secrets.pop(line.member.secret, None)
        assert self.roster.leave(line.member) == name
        if name is not None:
            self.roster.free(name)
            del self.held[fold_name(name)]
            assert self.roster.withdraw(name) == (name in self.out)
            self.out.discard(name)
        return line

    @invariant()
    def the_tables_agree(self) -> None:
        members = {line.member for line in self.there}
        assert set(self.roster) == members
        assert len(self.roster) == len(members)
        assert self.roster.announced == len(self.out)
        for dialect in Dialect:
            assert set(self.roster.live(dialect)) == {
                line.member for line in self.live if line.member.dialect is dialect
            }

    @invariant()
    def every_name_is_held_by_one_who_is_there(self) -> None:
        names = {fold_name(name): line for line, name in self.there.items() if name is not None}
        assert names.keys() == self.held.keys()
        assert all(self.roster.named(name) is line.member for name, line in names.items())


ARoom.TestCase.settings = settings(max_examples=50, stateful_step_count=25)
TestARoom = ARoom.TestCase
