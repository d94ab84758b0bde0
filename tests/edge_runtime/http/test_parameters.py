import pytest
from starlette.requests import Request

from edge_runtime.http.parameters import NumberParameter
from edge_runtime.serving.refusals import Refusal

MOST = NumberParameter("most", 50, 1, 500)
FPS = NumberParameter("fps", 2.0, 0.1, 5.0, "Pictures a second.")


def ask(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


@pytest.mark.parametrize(("query", "found"), [("", 50), ("most=1", 1), ("most=500", 500), ("other=7", 50)])
def test_a_whole_number_is_read(query: str, found: int) -> None:
    assert MOST.read(ask(query)) == found


@pytest.mark.parametrize(
    ("query", "found"), [("", 2.0), ("fps=0.1", 0.1), ("fps=5", 5.0), ("fps=1.125", 1.125)]
)
def test_a_number_with_a_point_is_read(query: str, found: float) -> None:
    fps = FPS.read(ask(query))
    assert (fps, type(fps)) == (found, float)


@pytest.mark.parametrize("text", ["", "0", "501", "-1", "1.0", "1e2", "%20", "+7", "nan", "٣", "1" * 5000])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        MOST.read(ask(f"most={text}"))
    assert refused.value.code == 400
    assert len(refused.value.text) < 100


@pytest.mark.parametrize("text", ["0.09", "5.001", "1.", ".5", "1.2345", "inf"])
def test_another_number_with_a_point_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        FPS.read(ask(f"fps={text}"))


def test_the_document_says_what_is_read() -> None:
    whole = {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    assert MOST.describe() == {"name": "most", "in": "query", "schema": whole}
    broken = {"type": "number", "minimum": 0.1, "maximum": 5.0, "default": 2.0}
    found = {"name": "fps", "in": "query", "schema": broken, "description": "Pictures a second."}
    assert FPS.describe() == found
