"""A trial of remote commands from another machine, with stock tools only."""
