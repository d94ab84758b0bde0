"""Requests for answers, whatever carries them: who may ask, how many at a time, the Open Inference Protocol."""
