"""``python -m trio_chat`` is the command ``trio-chat``."""

import sys

from trio_chat.cli import main

if __name__ == "__main__":
    sys.exit(main())
