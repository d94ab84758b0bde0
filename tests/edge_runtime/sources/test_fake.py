import pytest

from edge_runtime.datatypes import Frame
from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream, Source
from edge_runtime.sources.fake import FakeSource

FRAME = Frame("belt", 0, b"", captured_at_s=0.0, captured_at_wall_s=0.0)


def test_it_plays_its_script():
    source: Source = FakeSource("belt", [FRAME, None, SourceLost("belt", "unplugged"), FRAME])
    assert source.read(1) is FRAME
    assert source.read(1) is None
    with pytest.raises(SourceLost, match="unplugged"):
        source.read(1)
    assert source.read(1) is FRAME
    with pytest.raises(EndOfStream):
        source.read(1)
    assert source.stats().delivered == 2


def test_it_ends_when_closed():
    source = FakeSource("belt", [FRAME])
    source.close()
    with pytest.raises(EndOfStream):
        source.read(1)
