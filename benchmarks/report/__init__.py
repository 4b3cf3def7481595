"""REPORT.md, its plots, and contact sheets, from the rows."""
