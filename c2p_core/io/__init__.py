"""Reads and writes photos, their metadata, reports and plots. Imports nothing, so that commands start fast."""
