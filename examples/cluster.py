"""Redis, three nodes, and a balancer where there is one: a cluster to try, in one command.

    python examples/cluster.py [--nodes 3] [--port 8000]

It prints the addresses when all is ready. Open two of them, talk, kill a node, and go on; Ctrl-C
ends everything. Redis keeps its data in a directory that goes with it.

The indentation of `run_cluster` says who needs whom: the balancer ends before the nodes, and the
nodes say goodbye to their members before Redis ends.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trio

TIME_TO_END: Final = 12  # seconds: a node drains for up to 8

HAPROXY: Final = """
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option forwardfor
    # A node that is gone is found out here; its members come back, to another one.
    option redispatch
    retries 3
frontend chat
    bind 127.0.0.1:{port}
    default_backend nodes
backend nodes
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 500ms fall 1 rise 1
{servers}
"""

NGINX: Final = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream nodes {{
        least_conn;
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


async def main(count: int, port: int) -> None:
    """Run it all, until Ctrl-C."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_cluster, count, port, name="cluster")
            await anext(aiter(signals))
            say("ending")
            nursery.cancel_scope.cancel(reason="a signal")


async def run_cluster(count: int, port: int) -> None:
    """Run Redis, so many nodes on it, and a balancer in front of them, until cancelled."""
    with TemporaryDirectory() as directory:
        async with open_redis(directory) as redis, AsyncExitStack() as stack:
            say(f"Redis      {redis}")
            nodes = [
                await stack.enter_async_context(open_node(number, redis))
                for number in range(1, count + 1)
            ]
            async with open_balancer(directory, nodes, port):
                say("Open two of them and talk. Kill a node and go on. Ctrl-C ends everything.")
                await trio.sleep_forever()


@asynccontextmanager
async def open_redis(directory: str) -> AsyncIterator[str]:
    """Run a Redis; yield its address."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
    command += ["--appendonly", "yes", "--save", ""]
    async with running("Redis", command, "Ready to accept connections"):
        yield f"redis://127.0.0.1:{port}/0"


@asynccontextmanager
async def open_node(number: int, redis: str) -> AsyncIterator[int]:
    """Run a node; yield its port."""
    command = [sys.executable, "-m", "trio_chat", "serve", "--port", "0", "--history", redis]
    command += ["--trust-proxy", "127.0.0.1", "--log-level", "warning"]
    async with running(f"node {number}", command, "listening on ") as node:
        url = node.line.split()[-1]
        say(f"node {number}     {url}    kill -9 {node.process.pid}")
        yield int(url.rpartition(":")[2].partition("/")[0])


@asynccontextmanager
async def open_balancer(directory: str, nodes: Sequence[int], port: int) -> AsyncIterator[None]:
    """Run haproxy or nginx in front of the nodes, if there is one."""
    port = port or free_port()
    if shutil.which("haproxy"):
        name, template, command = "haproxy", HAPROXY, ["haproxy", "-db", "-q", "-f"]
        servers = "\n".join(f"    server node-{one} 127.0.0.1:{one}" for one in nodes)
    elif shutil.which("nginx"):
        name, template, command = "nginx", NGINX, ["nginx", "-c"]
        servers = "\n".join(f"        server 127.0.0.1:{one} fail_timeout=2s;" for one in nodes)
    else:
        say("no balancer: install haproxy or nginx for one")
        yield
        return
    file = Path(directory) / f"{name}.conf"
    file.write_text(template.format(directory=directory, port=port, servers=servers))
    async with running(name, [*command, str(file)], "") as balancer:
        await wait_until_listening(balancer, port)
        say(f"{name:10} http://127.0.0.1:{port}/chat/")
        yield


# --- Processes -----------------------------------------------------------------------------------


class CannotStart(Exception):
    """A program ended before it was ready."""


@dataclass(frozen=True)
class Program:
    """A program in a process of its own, and the line in which it said that it was ready."""

    name: str
    process: trio.Process
    line: str


@asynccontextmanager
async def running(name: str, command: Sequence[str], ready: str) -> AsyncIterator[Program]:
    """Run a program, from the line that holds `ready`; at the end it is told to end.

    Raises:
        CannotStart: it ended before it was ready.
    """
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # Ctrl-C in a terminal goes to everybody there; these are to end one after the other.
        start_new_session=True,
    )
    try:
        line = await _read_until(name, process, ready) if ready else ""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, name, process, name=f"watching {name}")
            yield Program(name, process, line)
            nursery.cancel_scope.cancel(reason="nobody needs it any more")
    finally:
        with trio.move_on_after(TIME_TO_END, shield=True):
            process.terminate()
            await process.wait()
        process.kill()


async def _read_until(name: str, process: trio.Process, words: str) -> str:
    said = ""
    assert process.stdout is not None
    async for data in process.stdout:
        said += data.decode()
        for line in said.splitlines(keepends=True):
            if words in line and line.endswith("\n"):
                return line.strip()
    raise CannotStart(f"{name} does not start. {said}")


async def _watch(name: str, process: trio.Process) -> None:
    assert process.stdout is not None
    async for _ in process.stdout:
        pass
    say(f"{name} has ended, with {await process.wait()}")


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def wait_until_listening(program: Program, port: int) -> None:
    """Wait until a program that does not say when it is ready accepts connections.

    Raises:
        CannotStart: it ended first.
    """
    while True:
        if program.process.poll() is not None:
            raise CannotStart(f"{program.name} does not start")
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.05)
        else:
            await stream.aclose()
            return


def say(text: str) -> None:
    """Tell whoever watches."""
    print(text, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--port", type=int, default=0, help="the balancer's; 0 for a free one")
    arguments = parser.parse_args()
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not there; Debian's package has that name")
    try:
        trio.run(main, arguments.nodes, arguments.port)
    except* CannotStart as group:
        sys.exit(str(group.exceptions[0]))
