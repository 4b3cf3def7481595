"""What ``install.py`` does, with Python's standard library alone."""
