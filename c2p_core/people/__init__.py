"""The people of a shoot: who is on which photo, and the look that each of them gets.

Nobody is identified: faces are grouped by likeness, groups have numbers, and no embedding is ever written to a file.
"""
