"""The Channels tutorial's chat on Daphne, the tutorial's own server."""

from __future__ import annotations

from daphne.cli import CommandLineInterface

from .arguments import port

if __name__ == "__main__":
    # As from a shell: daphne -v 0 -p PORT channels_app:application, but for the backlog. Twisted's
    # is 50, and whoever is the 51st to knock at once tries again after a second: what would be
    # measured is that second.
    endpoint = f"tcp:port={port()}:interface=127.0.0.1:backlog=1024"
    CommandLineInterface().run(
        ["-v", "0", "-e", endpoint, "benchmarks.peers.channels_app:application"]
    )
