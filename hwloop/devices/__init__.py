"""Statistical models of one PCM device, and of the wires to it."""
