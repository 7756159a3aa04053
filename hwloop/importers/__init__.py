"""Measurements made elsewhere, brought into measurement files: text, arrays in HDF5, and files of arc2control.

Importers read in chunks and write in chunks, so that a file may be larger than memory. What cannot be used is dropped,
counted by its reason, and named by the first line (or row) where it occurred: never silently, and never repaired. What
comes in and is hardly plausible is asked about.

`files` sees what a file is; `text`, `arrays` and `arc2control` read it; `collect` numbers cells and writes. A text goes
through stages, each of which knows nothing of those after it: `encoding` (bytes to lines), `layout` (where data begins
and what is between columns), `columns` and `headers` (what they mean), `spelling` (their units), `fields` (where they
stand), `numerals`, `moments` and `names` (what they say), `conditions` and `quantities` (which rows, and their
conductances), `ages` and `checks`.
"""
