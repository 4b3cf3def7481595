"""The version of Protect Face, from which the package's metadata is built."""

__version__ = "0.2.0"
