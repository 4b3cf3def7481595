"""The measurements of `python -m benchmarks`, each with its own file of rows."""
