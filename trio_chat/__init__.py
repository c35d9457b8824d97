"""A chat server on Trio: a task per connection, a nursery per room, no broker.

Nothing is imported here, so that ``import trio_chat`` is cheap and no half of the package drags in
the other: servers start at ``trio_chat.server``, clients at ``trio_chat.client``.
"""

__version__ = "0.1.0"
