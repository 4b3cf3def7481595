"""Metrics of pictures and similarities."""
