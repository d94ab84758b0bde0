"""Requests from outside, beside a camera."""
