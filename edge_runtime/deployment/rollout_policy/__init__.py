"""The policy of version rollouts: figures of two arms -> verdict -> next stage.

Pure: clock and numbers are arguments.
"""
