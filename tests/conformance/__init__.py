"""Autobahn's test suite against our WebSocket layer: `make conformance`; see README.md beside it.

`suite` installs and runs what its authors published, `outcomes` reads what came of it, `page` is
what `docs/conformance.md` says of that. All three know nothing of our server.
"""
