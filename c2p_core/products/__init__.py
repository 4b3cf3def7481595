"""Makeup products: their catalogue, their regions of a face, and how they are painted."""
