"""For all tests, before numpy is imported: one BLAS thread, as in the daemon (see ``edge_runtime.cli.main``)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
