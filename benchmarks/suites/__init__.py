"""What `python -m benchmarks` measures, each into its own file of rows."""
