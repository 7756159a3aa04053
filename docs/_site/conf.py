"""How the site is built from docs/: `make docs`."""

from __future__ import annotations

import importlib.metadata
import os
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

DOCS = Path(__file__).resolve().parent.parent
# Pages that are run write no pulse into the ledger of whoever builds the site, and take one core each.
os.environ.setdefault("HWLOOP_LEDGER", str(Path(tempfile.mkdtemp(prefix="hwloop-docs-")) / "ledger.sqlite"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "hwloop"
author = "The hwloop developers"
copyright = "the hwloop developers, Apache-2.0"
version = release = importlib.metadata.version("hwloop")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_design"]
exclude_patterns = ["_build", "_site"]
root_doc = "index"
default_role = "py:obj"
"""A word between backticks in a docstring leads to what it names, and stays code where that is nothing of Python's."""
nitpicky = False
toc_object_entries_show_parents = "hide"
add_module_names = False

# Docstrings: types come from the signatures.
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = False
python_use_unqualified_type_names = True
autodoc_type_aliases = {
    name: name
    for name in (
        "ArrayLike", "FloatArray", "IndexArray", "BoolArray", "AnyArray", "CodeArray", "State", "Json", "Progress",
        "WeightsLike", "DataLike", "ChipLike", "Batches", "Sources", "Shown", "Loaded", "Settings",
    )
}  # fmt: skip
"""What a signature calls them, in place of what they stand for."""

# Pages in Markdown, some of which are run. What they show is never stored: it is made when the site is.
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_timeout = 300  # of a cell, on the busiest machine; each page takes less than a minute
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_execution_in_temp = True

html_theme = "pydata_sphinx_theme"
html_title = "hwloop"
html_static_path = ["static"]
html_css_files = ["house.css"]
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "auto"}
html_sidebars = {"gallery": [], "genindex": [], "search": []}  # nothing stands there of these pages
html_theme_options = {
    "show_prev_next": True,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


class LinksToPages(SphinxTransform):
    """Turn a page that is named by its path, such as docs/drift.md, into a link with the page's title."""

    default_priority = 500
    pattern = re.compile(r"docs/([\w-]+)\.md")

    def apply(self, **_: object) -> None:
        """Replace the paths in code and in text alike."""
        for node in list(self.document.findall(nodes.literal)):
            if name := self.pattern.fullmatch(node.astext()):
                node.replace_self(self._link(name[1]))
        for node in list(self.document.findall(nodes.Text)):
            inside = isinstance(node.parent, nodes.literal | nodes.literal_block | nodes.reference | nodes.comment)
            if not inside and self.pattern.search(node):
                node.parent.replace(node, list(self._parts(node)))

    def _parts(self, node: nodes.Text) -> Iterator[nodes.Node]:
        texts = self.pattern.split(node)
        for number, text in enumerate(texts):
            if number % 2:
                yield self._link(text)
            elif text:
                yield nodes.Text(text)

    def _link(self, name: str) -> nodes.Node:
        if not (DOCS / f"{name}.md").exists():
            raise ValueError(f"{self.env.docname} names docs/{name}.md, which there is not")
        link = addnodes.pending_xref(
            "", nodes.inline(), refdoc=self.env.docname, refdomain="std", reftype="doc", refexplicit=False,
            reftarget=f"/{name}", refwarn=True,
        )  # fmt: skip
        return link


class PicturesThatTell(SphinxPostTransform):
    """Give pictures that a page has drawn their size, and as an alternative the words before them."""

    default_priority = 50  # after the outputs of cells have become nodes

    def run(self, **_: object) -> None:
        """Go through the page, with the last paragraph in mind."""
        words = self.document.next_node(nodes.title)
        for node in self.document.findall(lambda one: isinstance(one, nodes.paragraph | nodes.title | nodes.image)):
            if not isinstance(node, nodes.image):
                words = node
                continue
            path = Path(self.env.srcdir, node["uri"])
            head = path.read_bytes()[:24] if path.suffix == ".png" and path.exists() else b""
            if head[12:16] == b"IHDR":
                node["width"], node["height"] = (str(size) for size in struct.unpack(">II", head[16:24]))
            if words is not None and node.get("alt", "") in ("", node["uri"]):
                node["alt"] = words.astext().rstrip(":")


class ParametersTogether(SphinxPostTransform):
    """Tell parameters that a docstring describes together once, and call types what a signature calls them."""

    default_priority = 60

    def run(self, **_: object) -> None:
        """Go through the page."""
        for one in list(self.document.findall(nodes.emphasis)):
            if one.astext() == "TypeAliasForwardRef":
                self._call_by_name(one)
        for field in self.document.findall(nodes.field_body):
            for items in field.findall(nodes.bullet_list):
                self._join(items)

    @staticmethod
    def _call_by_name(one: nodes.Element) -> None:
        """Make X of the four parts of TypeAliasForwardRef('X'), the last of which may go on."""
        parent = one.parent
        place = parent.index(one)
        name, end = parent[place + 2].astext().strip("'"), parent[place + 3].astext().removeprefix(")")
        parent[place : place + 4] = [nodes.emphasis("", name), nodes.emphasis("", end)]

    def _join(self, items: nodes.bullet_list) -> None:
        """Put names that have the same words behind them into one item."""
        first: nodes.Element | None = None
        told = ""
        for item in list(items.children):
            paragraph = item[0]
            dash = self._dash(paragraph)
            said = "".join(one.astext() for one in [*paragraph.children[dash:], *item.children[1:]])
            if first is not None and dash and said == told:
                between = [nodes.Text(", "), *(one.deepcopy() for one in paragraph.children[:dash])]
                first[0][self._dash(first[0]) : self._dash(first[0])] = between
                items.remove(item)
            else:
                first, told = item if dash else None, said

    @staticmethod
    def _dash(paragraph: nodes.Element) -> int:
        """Find where names and types end; 0 where nothing does."""
        places = (place for place, one in enumerate(paragraph.children) if one.astext().strip() in ("\u2013", "--"))
        return next(places, 0)


def escape_stars(_app: Sphinx, _context: object, lines: list[str]) -> None:
    """Keep `*IDN?` in the help of a command from being taken for the begin of something slanted."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def setup(app: Sphinx) -> None:
    """Add what is this site's own."""
    app.add_transform(LinksToPages)
    app.add_post_transform(PicturesThatTell)
    app.add_post_transform(ParametersTogether)
    app.connect("sphinx-click-process-description", escape_stars)
