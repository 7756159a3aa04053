"""Converted layers: each knows its matrices and its digital part, and hands the multiplications to products."""
