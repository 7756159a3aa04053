"""Whole jobs behind the commands and the public face: a file a job."""
