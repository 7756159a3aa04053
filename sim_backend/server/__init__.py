"""The emulated instrument: a simulated chip behind the SCPI dialect, served over a socket or standard streams."""
