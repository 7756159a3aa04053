"""Statistical models of devices fitted to measurements."""
