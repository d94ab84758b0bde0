"""The count of a JSON text is never below what a parser makes of it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from calibration.stats.json_values import count_values

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_DOCUMENTS = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + _count(one) for one in value.values())
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


@given(_DOCUMENTS)
def test_no_key_and_no_value_is_missed(document: Any) -> None:
    assert count_values(json.dumps(document).encode()) >= _count(document)


def test_without_strings_that_look_like_more_it_is_exact() -> None:
    assert count_values(b'{"a": [1, 2, 3], "b": "c"}') == 8
