"""Stands for a program whose imports take long: ``python -m tests.support.slow_imports``."""

import time

time.sleep(3600)
