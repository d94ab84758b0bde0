"""The control loop of one model: notice drift, collect frames, recalibrate in a process of its own, decide.

``controller.RecalibrationController`` is its face.
"""
