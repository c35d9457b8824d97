"""The one option that every peer has."""

from __future__ import annotations

import argparse


def port() -> int:
    """Return what `--port` says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    return int(parser.parse_args().port)
