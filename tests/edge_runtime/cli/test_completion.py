"""The shell completes commands and options, as the page says."""

import pytest

from edge_runtime.cli.main import main


@pytest.mark.parametrize(
    ("words", "position", "expected"),
    [("edge-runtime doc", 1, "plain,doctor"), ("edge-runtime doctor --js", 2, "plain,--json")],
)
def test_commands_and_options_are_completed(monkeypatch, capsys, words, position, expected):
    monkeypatch.setenv("_EDGE_RUNTIME_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(position))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == [expected]
