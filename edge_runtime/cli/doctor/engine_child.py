"""A process that imports one library and says how that went: ``python -m edge_runtime.cli.doctor.engine_child NAME``.

A library that was built for another box can end the process that imports it.
"""

import importlib
import json
import sys


def main(name: str) -> None:
    """Print ``{"version": ...}``, or why the library cannot be loaded and whether it is there at all."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as err:
        answer = {"reason": str(err), "is_missing": err.name == name}
    except (ImportError, OSError) as err:
        answer = {"reason": str(err), "is_missing": False}
    else:
        answer = {"version": str(getattr(module, "__version__", "?"))}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
