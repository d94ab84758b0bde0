"""Simulates a drift: makes healthy frames look as if today's camera had taken them.

The healthy model's answers on healthy frames are known, so a patch can be found and judged on the simulated frames
without any label, on a one-class scene too. Only what a camera does is copied (tones, colours, detail, noise), never
the content of the live frames. Pure numpy and OpenCV on prepared tensors; no model.
"""
