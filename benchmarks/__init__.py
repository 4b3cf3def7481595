"""Measured tables: protection, naturalness and cost. `python -m benchmarks --help` says how to run them."""
