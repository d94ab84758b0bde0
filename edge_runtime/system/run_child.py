"""The first code of every child process: ``python -m edge_runtime.system.run_child PARENT_PID MODULE [ARGUMENT...]``.

Ties the process to its parent, then runs the module as ``python -m`` does. Standard library only.
"""

import runpy
import sys

from edge_runtime.system.child_process import die_with


def main(arguments: list[str]) -> None:
    """Run the module; its ``sys.argv`` is what it would be without this one."""
    parent_pid, module, *rest = arguments
    die_with(int(parent_pid))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
