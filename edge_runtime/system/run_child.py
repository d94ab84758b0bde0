"""The first code of every child process.

Run as ``python -m edge_runtime.system.run_child PARENT_PID SHARE MODULE [ARGUMENT...]``. Ties the process to its
parent, lowers its priority where it gets no full share, then runs the module as ``python -m`` does. Standard library
only.
"""

import runpy
import sys

from edge_runtime.system.child_process import SPARE_TIME, die_with
from edge_runtime.system.spare_time import live_on_spare_time


def main(arguments: list[str]) -> None:
    """Run the module; its ``sys.argv`` is what it would be without this one."""
    parent_pid, share, module, *rest = arguments
    die_with(int(parent_pid))
    if share == SPARE_TIME:
        live_on_spare_time()
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
