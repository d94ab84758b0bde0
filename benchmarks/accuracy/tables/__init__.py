"""Figures, tables, plots and pages out of the records."""
