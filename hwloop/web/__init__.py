"""Experiments in a browser: composed as command lines, run as processes of their own, watched and compared.

A page knows no experiment. Its forms are made of the parameters of commands and the fields of settings; what it starts
is a command line; what it shows comes from the files that commands write. So nothing is lost when the server ends.
"""
