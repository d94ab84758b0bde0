"""The sections of the performance page, each pure text out of the stored parts."""
