"""Memory of this process and a fingerprint of the measured code."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path

from benchmarks.data import CHECKOUT


def peak_mib() -> float:
    """High-water mark of this process's resident memory in MiB.

    Linux's own figure where there is one: `getrusage` also counts what the parent held when it started the child.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def code_fingerprint() -> str:
    """Twelve hex digits over all that decides the pictures: c2p_core, the manifest and the project's own weights."""
    digest = hashlib.sha256()
    files = [*(CHECKOUT / "c2p_core").rglob("*.py"), CHECKOUT / "bundle" / "manifest.toml"]
    files += [p for p in (CHECKOUT / "bundle" / "mini").rglob("*") if p.is_file()]
    for file in sorted(p for p in files if p.exists()):
        digest.update(file.relative_to(CHECKOUT).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
