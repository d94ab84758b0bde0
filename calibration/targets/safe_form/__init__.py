"""The form of a model file that a framework may be given: read by one strict parser of ours, and written out by it.

A framework reads what we wrote and nothing else, so the checks and the framework cannot understand a file in two ways.
The bytes decide the format, whatever a name or a manifest says. Files stay as they are on disk, and so do their hashes.
No framework is imported here. ``decide`` is the entry; ``onnx_wire``, ``ir`` and ``torch_archive`` know a format each,
and ``boundary`` turns what they did not foresee into the declared error.
"""
