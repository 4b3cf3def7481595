"""The worker: one process per user that keeps models loaded for plug-ins. ``docs/worker-protocol.md`` is its protocol.

``server`` accepts clients and queues jobs, ``supervise`` controls the computing process, ``compute`` is that process,
``jobs`` runs the jobs.
"""
