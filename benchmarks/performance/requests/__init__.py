"""Requests from outside while a camera runs."""
