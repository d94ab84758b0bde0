"""Differentiates a model: one plain ONNX graph with the forward and the backward pass, run by ONNX Runtime.

``program`` is the model as float arithmetic, whichever format it came from; ``rules`` has the derivative of every
operator; ``graph`` finds the part that can be differentiated; ``builder`` puts forward pass, losses and backward pass
together; ``session`` runs it.
"""
