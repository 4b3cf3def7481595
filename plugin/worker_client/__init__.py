"""What GIMP plug-ins need to use the worker; Python 2.7 and 3, standard library only.

    worker = worker_client.connect()
    job = worker.submit("find", {"full": [6000, 4000]}, [picture])
    for event in job.events():
        ...

``docs/worker-protocol.md`` describes the jobs, what they take and what they answer.
"""

from worker_client.client import Event, Job, Worker, connect, diagnose, stop
from worker_client.constants import PROTOCOL
from worker_client.detection_size import choose_detection_size
from worker_client.errors import WorkerProblem
from worker_client.protocol import Picture

__all__ = [
    "PROTOCOL",
    "Event",
    "Job",
    "Picture",
    "Worker",
    "WorkerProblem",
    "choose_detection_size",
    "connect",
    "diagnose",
    "stop",
]
