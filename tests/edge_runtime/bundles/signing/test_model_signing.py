"""The stock tool of OpenSSF model signing verifies our signatures, and we verify its; both without a network."""

import subprocess
import sys

import pytest

from edge_runtime.bundles.signing.ec_keys import load_public_key
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.errors import BundleError
from tests.support.signed_bundles import Publisher, build_small
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


def model_signing(*arguments):
    """The stock tool; no proxy and no address: it could reach nothing."""
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)


@pytest.fixture
def bundle(tmp_path):
    return build_small(tmp_path)


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "keys")


def verify_with_the_tool(bundle, key):
    return model_signing("verify", "key", bundle, "--signature", bundle / "bundle.sig", "--public_key", key)


def test_the_tool_verifies_ours(bundle, publisher, tmp_path):
    publisher.sign(bundle)
    done = verify_with_the_tool(bundle, publisher.public)
    assert done.returncode == 0, done.stderr
    assert verify_with_the_tool(bundle, Publisher(tmp_path / "other").public).returncode != 0
    with (bundle / "labels.txt").open("a") as file:
        file.write("f\n")
    assert verify_with_the_tool(bundle, publisher.public).returncode != 0


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_we_verify_the_tools(bundle, tmp_path, curve):
    key, public = tmp_path / "openssl.pem", tmp_path / "openssl.pub"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", key],
        check=True, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True, timeout=WAIT_S)
    done = model_signing("sign", "key", bundle, "--private_key", key, "--signature", bundle / "bundle.sig")
    assert done.returncode == 0, done.stderr
    trust = Trust((load_public_key(public),), require_signed=True)
    assert load_bundle(bundle, trust).signed_by == load_public_key(public).id
    with (bundle / "labels.txt").open("a") as file:
        file.write("f\n")
    with pytest.raises(BundleError):
        load_bundle(bundle, trust)
