"""The algorithms. They use the backend contract alone and never know which chip they run on."""
