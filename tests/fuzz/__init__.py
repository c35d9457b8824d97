"""A fuzzer over the door and the wire: sessions that were valid, bent byte by byte.

    make fuzz ARGS="--minutes 10"

`corpus` holds the sessions, `bending` spoils them, `harness` plays one to a running server and
judges what came of it. Whatever makes the server fail is kept in `corpus/`, and played by
`make test` ever after.
"""
