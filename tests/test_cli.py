"""The command as its users meet it: a process with arguments, signals, two streams and a code."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import COMMAND, GOING_AWAY, HANDSHAKE, ended, read_until, serving

from trio_chat import __version__
from trio_chat.cli import main

# --- What needs no server ---


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"trio-chat {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["serve", "--help"], ["config", "-h"]])
def test_help_fits_a_screen(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  --port") for line in lines)


@pytest.mark.parametrize("arguments", [["--help-all"], ["serve", "--help-all"]])
def test_help_all_shows_the_rare_options_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    out = capsys.readouterr().out
    assert "--port" in out
    assert "--linger-timeout" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to do"),
        (["srve"], "invalid choice: 'srve'"),
        (["record", "x", "--seconds", "2", "4711"], "4711 is one word too many, or belongs before"),
        (["serve", "--prot", "1"], "--prot is no option of this command; did you mean --port?"),
        (["serve", "--max-mesage=1"], "did you mean --max-message?"),
        (["serve", "--max-mess", "1"], "--max-mess is no option"),
        (["serve", "--port"], "argument --port: expected one argument"),
        (["serve", "--port", "99999"], "--port: 99999 won't do; it takes a whole number from 0"),
        (["serve", "--port", "-1"], "--port: -1 won't do"),
        (["serve", "--outbox", "lots"], "--outbox: 'lots' won't do; it takes a size such as"),
        (["serve", "--host", ""], "--host: '' won't do"),
        (["serve", "--allow-origin", "chat.example"], "--allow-origin: 'chat.example' won't do"),
        (["serve", "--history", "tape:0"], "--history: 'tape:0' won't do"),
        (["serve", "--history", "unix://"], "--history: 'unix://' won't do"),
        (["serve", "--config", "none.toml"], "none.toml: No such file"),
        (["serve", "--log-level", "\x1b[2J"], "--log-level: '\\x1b[2J' won't do"),
        (["config", "--port", "many"], "--port: 'many' won't do"),
    ],
)
def test_a_slip_is_one_line_and_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        sys.exit(main(arguments))
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("trio-chat: ")
    assert said in err


def test_config_prints_what_is_in_force_and_whence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chat.toml"
    path.write_text("burst = 7\n")
    monkeypatch.setenv("TRIO_CHAT_RATE", "5")
    origins = ["--allow-origin", "http://a", "--allow-origin", "http://b"]
    assert main(["config", "--config", str(path), *origins]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("burst ")).endswith(f"# {path}")
    assert next(line for line in lines if line.startswith("rate ")).endswith("# TRIO_CHAT_RATE")
    assert 'allow-origin = ["http://a", "http://b"]  # command line' in lines


def test_config_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--json", "--port", "0"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["port"] == {"value": 0, "from": "command line"}
    assert table["keep-messages"] == {"value": 1000, "from": "default, by --history"}


def test_an_unknown_variable_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIO_CHAT_PROT", "1")
    assert main(["config"]) == 0
    warning = "trio-chat: warning: TRIO_CHAT_PROT is no setting, so it is ignored"
    assert capsys.readouterr().err.startswith(warning)


# --- A server ---


async def test_the_module_is_the_command() -> None:
    assert (await ended("--version")).out == f"trio-chat {__version__}\n"


async def test_a_server_says_when_it_is_ready_and_is() -> None:
    async with serving() as server, await server.open_stream() as stream:
        await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: chat.test\r\n\r\n")
        assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200")


async def test_settings_reach_the_server_from_environment_and_file(tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    path.write_text("max-connections = 1\n")
    environ = {"TRIO_CHAT_CONFIG": str(path), "TRIO_CHAT_LOG_FORMAT": "json"}
    async with serving(environ=environ) as server:
        first = await server.join()
        second = await server.open_stream()
        await second.send_all(HANDSHAKE)
        assert not (await second.receive_some()).startswith(b"HTTP/1.1 200")
        server.process.send_signal(signal.SIGTERM)
        await first.aclose()
        await second.aclose()
        for line in (await server.end()).err.splitlines():
            assert json.loads(line)["level"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_an_idle_server_with_0(number: signal.Signals) -> None:
    async with serving() as server:
        server.process.send_signal(number)
        end = await server.end()
    assert (end.code, end.out) == (0, "")
    assert "Traceback" not in end.err


async def test_a_drain_tells_members_that_the_server_goes_away() -> None:
    async with serving() as server, await server.join() as member:
        server.process.send_signal(signal.SIGTERM)
        frame = await read_until(member, GOING_AWAY)
        assert frame[0] == 0x88
        await member.aclose()
        assert (await server.end()).code == 0


async def test_a_member_that_takes_nothing_does_not_hold_up_the_end() -> None:
    hasty = ("--drain-timeout", "1", "--close-timeout", "1")
    async with serving(*hasty) as server, await server.join():
        server.process.send_signal(signal.SIGTERM)
        assert (await server.end()).code == 0


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_ends_at_once(second: signal.Signals) -> None:
    # Were it not for the second signal, this member would hold the server longer than the test.
    patient = ("--drain-timeout", "10m", "--close-timeout", "10m")
    async with serving(*patient) as server, await server.join() as member:
        server.process.send_signal(signal.SIGTERM)
        await read_until(member, GOING_AWAY)  # The drain has begun.
        server.process.send_signal(second)
        end = await server.end()
    assert end.code == 128 + second
    assert "Traceback" not in end.err
    assert "a second signal: ended at once" in end.err


async def test_a_busy_port_is_one_line_and_code_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        end = await ended("serve", "--port", str(port))
    assert (end.code, end.out) == (2, "")
    assert end.err == f"trio-chat: can't listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("host", ["::zz", "192.0.2.1"])  # No address; nobody's (RFC 5737).
async def test_a_host_that_is_not_ours_is_one_line_and_code_2(host: str) -> None:
    end = await ended("serve", "--host", host, "--port", "0")
    assert (end.code, end.out) == (2, "")
    assert end.err.startswith(f"trio-chat: can't listen on {host}:0: ")
    assert end.err.count("\n") == 1


async def test_the_limit_of_open_files_is_raised() -> None:
    async with serving() as server:
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard


def test_a_reader_that_has_gone_is_no_fault() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        end = subprocess.run(
            [*COMMAND, "config"], stdout=theirs, stderr=subprocess.PIPE, env={}, check=False
        )
    finally:
        os.close(theirs)
    assert (end.returncode, end.stderr) == (0, b"")
