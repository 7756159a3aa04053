"""Fitted models for other tools, as source text."""
