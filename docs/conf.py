"""How the site is built: MyST on Sphinx with Furo, without a network.

The pages are plain Markdown first, to be read on a code host as well. Two things make them a site:
a link out of this folder becomes a download of that file, and `{replay}` shows a lesson's replay.
`make docs` runs this; a warning is an error.
"""

from __future__ import annotations

import os
import sys
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

project = "trio-chat"
copyright = "the trio-chat contributors, MIT licence"
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "trio-chat"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    # A task tree is drawn with box characters: they need a font in which lines meet.
    "light_css_variables": {"font-stack--monospace": "ui-monospace, Menlo, Consolas, monospace"},
}

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # For `make_replays`.


class Replay(SphinxDirective):
    """Show the replay of a lesson, ``{replay} 2``, or of one of its twins, ``{replay} 2 naive``.

    The file is made by `docs/make_replays.py`, behind the pages; what it is called stands there.
    """

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the frame and a link to the same page alone."""
        from make_replays import find_plays  # Needs the lessons; most pages don't.

        plays = {play.words: play for play in find_plays()}
        play = plays.get(tuple(self.arguments))
        if play is None:
            raise self.error(f"there is no replay {' '.join(self.arguments)}")
        up = "../" * self.env.docname.count("/")
        source = escape(f"{up}replays/{play.file}")
        title = escape(play.title)
        html = (
            f'<figure class="replay"><iframe src="{source}" title="{title}" loading="lazy">'
            f'</iframe><figcaption>{title}. <a href="{source}">Open it alone</a>.</figcaption>'
            "</figure>"
        )
        return [nodes.raw("", html, format="html")]


def lead_out(_: Sphinx, doctree: nodes.document) -> None:
    """Make what lies outside this folder a download, where Sphinx would look for a page.

    It does that by itself for all but Markdown; a folder can't be had, so its link becomes text.
    """
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] != "myst":
            continue
        page = HERE / link["refdoc"]
        if link["refdomain"] != "doc":
            if (page.parent / link["reftarget"]).is_dir():
                link.replace_self(link.children)
        elif Path(link["reftarget"]).is_absolute():  # Else the name of a page.
            target = os.path.relpath(f"{link['reftarget']}.md", page.parent)
            download = addnodes.download_reference("", "", *link.children, reftarget=target)
            download["refdoc"] = link["refdoc"]
            link.replace_self(download)


def setup(app: Sphinx) -> None:
    """Hand Sphinx the two additions."""
    app.add_directive("replay", Replay)
    app.connect("doctree-read", lead_out, priority=100)  # Before downloads are collected.
