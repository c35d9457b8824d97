"""The microscope: it draws the tree of a running Trio program, and how that tree dies.

Beneath everything are `events`, a recording's words, and `snapshot`, which looks once; `tree` draws
what it saw. `recorder` watches, with what is `known` and how tasks end (`endings`). In a server one
recorder is for all who `watch`, and `serving` opens two doors to it, `unix` and `web`, which with
the lab's `acts` may also touch. `commands` are the other end: they find a server (`discovery`), ask
it (`asking`) and draw or record what it says. `recording` is a file, or a page.

Nothing of the chat imports this package; only commands and lessons do. It does nothing until
somebody looks, and nothing again once nobody does.
"""
