"""A whole shoot: many photos into one folder, each exactly once, however often the run is ended.

``sources`` finds photos, ``layout`` names their results, ``journal`` remembers them, an engine (``local``,
``processes``) protects them, and ``recorder``, the only one that writes, puts results and rows in place. ``run`` puts
these together; ``report`` tells what came out.
"""
