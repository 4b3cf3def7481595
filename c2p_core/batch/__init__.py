"""Protects a whole shoot: many photos into one folder, each exactly once, however often the run is interrupted.

``sources`` finds photos, ``layout`` names their results, ``journal`` remembers them, an engine (``local``,
``processes``) protects them, and ``recorder``, the only writer, puts results and rows in place. ``run`` connects these;
``report`` describes the results.
"""
