"""Makeup products: what they are, where they lie on a face, and how they are painted."""
