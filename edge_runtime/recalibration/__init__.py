"""The control loop of one model: notice drift, collect frames, recalibrate in a child process, decide.

``controller.RecalibrationController`` is its face.
"""
