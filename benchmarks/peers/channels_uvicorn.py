"""The Channels tutorial's chat on Uvicorn, which picks uvloop by itself."""

from __future__ import annotations

import uvicorn

from .arguments import port
from .channels_app import application

if __name__ == "__main__":
    uvicorn.run(application, port=port(), log_level="warning")
