"""Work on many cores and many chips at once.

`executors` carry out tasks that do not know of each other, in this process or in several; `dask_executor` on the
computers of a Dask cluster. `chips` reads a fleet file, and describes the chips that it lists as one.
"""
