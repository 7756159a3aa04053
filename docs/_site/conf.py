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


def escape_stars(_app: Sphinx, _context: object, lines: list[str]) -> None:
    """Keep `*IDN?` in the help of a command from being taken for the begin of something slanted."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def setup(app: Sphinx) -> None:
    """Add what is this site's own."""
    app.add_transform(LinksToPages)
    app.add_post_transform(PicturesThatTell)
    app.connect("sphinx-click-process-description", escape_stars)
