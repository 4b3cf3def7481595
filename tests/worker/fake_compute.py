"""The process that computes, with jobs that do as their header says: fast, and able to go wrong."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "plugin"))

from c2p_core.api import CancelToken
from c2p_core.errors import NoFace
from c2p_core.worker import compute
from c2p_core.worker.protocol import Header, Message


def run(job: Message, send: compute.Send, cancel: CancelToken) -> Message:
    header = job.header
    action = header.get("does", "echo")
    if action == "count":
        for step in range(header["steps"]):
            cancel.raise_if_cancelled()
            send(Message({"kind": "progress", "step": step, "steps": header["steps"]}))
            time.sleep(header.get("seconds", 0.02))
    elif action == "not listen":
        send(Message({"kind": "progress", "step": 0}))
        time.sleep(header["seconds"])
    elif action == "die":
        os.kill(os.getpid(), getattr(signal, header["signal"]))
    elif action == "exit":
        os._exit(3)
    elif action == "run out of memory":
        raise MemoryError("DefaultCPUAllocator: can't allocate memory")
    elif action == "run out of the card's memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 3.81 GiB")
    elif action == "lose the card's libraries":
        raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
    elif action == "fail":
        raise ZeroDivisionError("what nobody foresaw")
    elif action == "find nobody":
        raise NoFace("no-face")
    elif action == "print":
        print("a library is chatty")
    figures = {"seconds_per_face": header.get("speed"), "settings": {"prior": header.get("prior")}}
    return Message({"said": header.get("text"), **figures}, job.entries, job.payload)


def prepare() -> tuple[Header, compute.Run]:
    if "--fail" in sys.argv:
        raise ImportError("No module named torch")
    if "--slow" in sys.argv:
        time.sleep(1)
    models = {"present": [], "missing": []}
    folder = Path(os.environ.get("C2P_HOME", ".")) / "models"
    return {"device": "cpu", "priors": ["makeup", "stylegan2"], "models_folder": str(folder), "models": models}, run


if __name__ == "__main__":
    compute.serve(prepare)
