"""Which addresses bundles may be installed from: compared by parts, and only plain ones are understood."""

import pytest

from edge_runtime.config import parse_config
from edge_runtime.config.install_sources import BadAddress, parse_file_address, parse_prefix
from edge_runtime.errors import ConfigError

CONFIG = "device: box\nmodels: {m: {bundle: m}}\ncameras: {c: {path: pictures, model: m}}\n"


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("https://files.example/bundles/", "https://files.example/bundles/x.tar"),
        ("https://files.example/bundles", "https://FILES.example:443/bundles/a/b/x.tar"),
        ("https://files.example", "https://files.example/x.tar"),
        ("https://files.example:8443/", "https://files.example:8443/x.tar"),
        ("https://files.example/bundles/x.tar", "https://files.example/bundles/x.tar"),
        ("http://127.0.0.1:80/", "http://127.0.0.1:80/x.tar"),
        ("https://[fd00::1]/b", "https://[FD00::1]/b/x.tar"),
    ],
)
def test_an_address_below_a_prefix_is_allowed(prefix, address):
    assert parse_prefix(prefix).allows(parse_file_address(address))


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("https://files.example/bundles/", "https://files.example/bundles-evil/x.tar"),
        ("https://files.example/bundles/", "https://files.example/x.tar"),
        ("https://files.example/bundles/", "https://files.example.evil/bundles/x.tar"),
        ("https://files.example/bundles/", "https://evil-files.example/bundles/x.tar"),
        ("https://files.example/bundles/", "https://files.example:8443/bundles/x.tar"),
        ("https://files.example/Bundles/", "https://files.example/bundles/x.tar"),
        ("oci://files.example/bundles/", "https://files.example/bundles/x.tar"),
        ("http://127.0.0.1/b", "https://127.0.0.1/b/x.tar"),
        ("http://127.0.0.1/b", "http://localhost/b/x.tar"),
    ],
)
def test_an_address_elsewhere_is_not(prefix, address):
    assert not parse_prefix(prefix).allows(parse_file_address(address))


TRICKS = [
    "https://user@files.example/bundles/x.tar", "https://files.example@evil.example/bundles/x.tar",
    "https://files.example:pw@evil.example/bundles/x.tar", "https://files.example/bundles/../x.tar",
    "https://files.example/bundles/./x.tar", "https://files.example/bundles/%2e%2e/x.tar",
    "https://files.example/bundles%2Fx.tar", "https://files.example/bundles/..%2fx.tar",
    "https://files.example/bundles/x.tar%00", "https://files.example/bundles//x.tar",
    "https://files.example\\@evil.example/bundles/x.tar", "https://files.example/bundles\\..\\x.tar",
    "https://files.example/bundles/x.tar?a=1", "https://files.example/bundles/x.tar#a",
    "https:/files.example/bundles/x.tar", "https:files.example/x.tar", "//files.example/bundles/x.tar",
    "HTTPS://files.example/bundles/x.tar", "http://files.example/bundles/x.tar", "file:///etc/passwd",
    "ftp://files.example/x.tar", "https:///bundles/x.tar", "https://files.example", "https://files.example/b/",
    "https://files.example:0/x.tar", "https://files.example:99999/x.tar", "https://files.example:8 0/x.tar",
    "https://files.example./bundles/x.tar", "https://ﬁles.example/bundles/x.tar", "https://files.example/ｂ/x.tar",
    "https://files.example/x.tar\n", "https://files.example\t/x.tar", " https://files.example/x.tar", "",
    "https://0x7f000001@/x.tar", "oci://files.example/bundles/x:1", "https://f/" + "x" * 600,
]  # fmt: skip


@pytest.mark.parametrize("address", TRICKS)
def test_what_could_be_understood_differently_is_refused(address):
    with pytest.raises(BadAddress) as caught:
        parse_file_address(address)
    assert "pw" not in str(caught.value)


def test_the_configuration_takes_prefixes_and_names_a_wrong_one():
    config = parse_config(CONFIG + "bundles: {install_from: ['oci://R.example/lines/']}\n", "box.yaml", {})
    assert config.bundles.install_from == ("oci://r.example/lines",)
    assert not config.bundles.install_chunks
    text = CONFIG + "bundles:\n  install_from: ['https://u:hunter2@h/b']\n"
    with pytest.raises(ConfigError) as refused:
        parse_config(text, "box.yaml", {})
    (problem,) = refused.value.problems
    assert (problem.where, problem.line) == ("bundles.install_from.0", 5)
    assert "hunter2" not in str(refused.value)
