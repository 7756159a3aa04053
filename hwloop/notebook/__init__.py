"""What notebooks and tables of other packages are given of results: cards in HTML, pandas tables, xarray datasets."""
