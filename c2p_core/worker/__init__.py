"""The worker: one warm process per user that plug-ins talk to. ``docs/worker-protocol.md`` says what it speaks.

``server`` listens and queues, ``supervise`` keeps the process that computes, ``compute`` is that process, ``jobs`` is
what it can do.
"""
