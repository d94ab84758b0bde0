"""The HTML page of one recalibration; ``page.page`` makes it."""
