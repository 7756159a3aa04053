"""Measurements made elsewhere, brought into measurement files: delimited text, and the HDF5 files of arc2control.

Importers read in chunks and write in chunks, so that a file may be larger than memory. What cannot be used is dropped,
counted by its reason, and named by the first line (or row) where it occurred: never silently, and never repaired.
`files` sees what a file is, `text` and `arc2control` read it, `columns` maps the columns of a text, `collect` writes.
"""
