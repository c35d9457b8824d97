"""Each server that we compare with speaks the plain dialect; those not installed are left out.

The client is an independent one, `websockets`, and the port a free one: what is compared must be
the same work.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.sync.client import ClientConnection, connect

from benchmarks.peers import NODE, PEERS
from benchmarks.servers import free_port, running

PATIENCE = 10.0


@contextmanager
def peer(name: str) -> Iterator[str]:
    """Run a peer, and yield the address of its rooms."""
    missing = PEERS[name].missing()
    if missing is not None:
        pytest.skip(missing)
    port = free_port()
    with running(name, PEERS[name].command(port), port):
        yield f"ws://127.0.0.1:{port}/ws/chat"


def say(member: ClientConnection, text: str) -> None:
    member.send(json.dumps({"message": text}))


def hear(member: ClientConnection, last: str) -> list[object]:
    """Return what a member hears up to the message `last`."""
    heard: list[object] = []
    while not heard or heard[-1] != {"message": last}:
        frame = member.recv(PATIENCE)
        assert isinstance(frame, str)
        heard.append(json.loads(frame))
    return heard


def enter(member: ClientConnection, name: str) -> None:
    """Be in the room: a handshake is no proof of that, a message of one's own received is."""
    say(member, name)
    hear(member, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_sends_a_message_to_everybody_in_the_room_and_to_nobody_else(name: str) -> None:
    text = 'hello "you", \N{SNOWMAN} and \N{PILE OF POO}'
    with (
        peer(name) as rooms,
        connect(f"{rooms}/green/") as alice,
        connect(f"{rooms}/green/") as bob,
        connect(f"{rooms}/room-2/") as carol,
    ):
        enter(alice, "Alice is here")
        enter(bob, "Bob is here")
        enter(carol, "Carol is here")

        say(carol, "elsewhere")
        assert hear(carol, "elsewhere") == [{"message": "elsewhere"}]
        say(alice, text)
        # Nobody was in the room earlier than Alice, and she may have been quicker than Bob.
        assert hear(alice, text) == [{"message": "Bob is here"}, {"message": text}]
        assert hear(bob, text) == [{"message": text}]


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_keeps_the_order_and_survives_a_member_that_is_cut_off(name: str) -> None:
    with peer(name) as rooms, connect(f"{rooms}/green/") as alice:
        enter(alice, "Alice is here")
        with connect(f"{rooms}/green/") as bob:
            enter(bob, "Bob is here")
            bob.socket.shutdown(socket.SHUT_RDWR)
        for number in range(50):
            say(alice, f"number {number}")
        assert hear(alice, "number 49") == [
            {"message": "Bob is here"},
            *({"message": f"number {number}"} for number in range(50)),
        ]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_says_how_it_starts_or_what_it_lacks(name: str) -> None:
    each = PEERS[name]
    assert each.name == name
    missing = each.missing()
    if missing is None:
        assert each.command(1234)[-2:] == ["--port", "1234"]
    else:
        assert missing.startswith("needs ")


def test_the_lock_file_of_the_peers_in_javascript_names_no_host() -> None:
    assert "resolved" not in (NODE / "package-lock.json").read_text()
