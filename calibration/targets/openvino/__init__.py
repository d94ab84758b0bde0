"""OpenVINO IR, through ``backend.OpenVinoBackend``."""

import sys

_REPORTS = "openvino_telemetry"


def _import_without_reports() -> None:
    """Import OpenVINO such that it does not find the module that reports its use: it takes its stub for good then.

    The only documented way to decline is a file in the home directory, which is the user's. The entry is put back:
    the modules of the process are the host program's.
    """
    had, before = _REPORTS in sys.modules, sys.modules.get(_REPORTS)
    sys.modules[_REPORTS] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: F401
    finally:
        if had:
            sys.modules[_REPORTS] = before  # type: ignore[assignment]
        else:
            del sys.modules[_REPORTS]


_import_without_reports()
