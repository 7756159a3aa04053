"""Pages: what a file says in words, tables and pictures, for the terminal, a figure, or one HTML file."""

from __future__ import annotations

from hwloop.pages.opening import page_of
from hwloop.pages.page import Column, Fact, Page, Picture, Table

__all__ = ["Column", "Fact", "Page", "Picture", "Table", "page_of"]
