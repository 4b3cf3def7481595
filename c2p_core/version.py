"""The one place that says which version of Protect Face this is; the package's metadata is built from it."""

__version__ = "0.2.0"
