"""Model outputs become labels, boxes or numbers, as the bundle says."""
