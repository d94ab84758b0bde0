"""How many golden pictures go into one batch, which shows a model whose answers depend on their company."""

TOGETHER = 4
TOGETHER_BYTES = 256 << 20
"""Of those; at least one is taken."""


def count_company(tensor_bytes: int) -> int:
    """The number of pictures of this size, 1 to 4."""
    return max(1, min(TOGETHER, TOGETHER_BYTES // max(1, tensor_bytes)))
