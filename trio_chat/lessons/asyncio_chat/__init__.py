"""A small chat in asyncio, three times: as one first writes it, with care, and with TaskGroup.

Each has rooms with a hub, and members with a writer and a heartbeat of their own, as the real
server would have without Trio. Peers are in memory. The twins of the lessons play on it.
"""
