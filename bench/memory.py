"""How much memory a process took at most."""

import re
import resource
from pathlib import Path


def peak_mb() -> float:
    """Return the peak of this process since its program began, in MB.

    Not ``ru_maxrss`` where Linux tells better: that one is inherited from the process that started
    this one, whatever that had grown to.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
