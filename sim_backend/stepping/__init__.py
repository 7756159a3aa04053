"""Simulated chips whose devices step up and down where pulse trains meet, for training in memory."""
