"""The microscope: it draws the tree of a running Trio program, and how that tree dies.

`snapshot` looks once, `recorder` watches, `recording` keeps what was seen. Nothing of the chat
imports this package. It does nothing until somebody looks, and nothing again once nobody does.
"""
