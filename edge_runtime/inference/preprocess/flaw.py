"""The one signal inside this package that a picture cannot be used; ``prepare`` turns it into a ``Rejected`` value."""

from edge_runtime.datatypes import RejectReason


class PictureFlaw(Exception):
    """What is wrong with a picture or tensor."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")
