"""Rollouts of good and broken versions on a real daemon."""
