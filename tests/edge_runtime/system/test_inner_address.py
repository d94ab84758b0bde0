"""Addresses that no name from outside may lead to."""

import pytest

from edge_runtime.system.inner_address import is_inner


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0", "224.0.0.1",
        "ff02::1", "255.255.255.255", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "2002:7f00:1::", "100.100.100.200", "168.63.129.16", "fd00:ec2::254",
    ],
)  # fmt: skip
def test_inside(address: str) -> None:
    assert is_inner(address)


@pytest.mark.parametrize(
    "address", ["192.168.1.20", "10.0.0.1", "93.184.216.34", "2606:2800::1", "fd12::1", "64:ff9b::5db8:d822"]
)
def test_outside(address: str) -> None:
    assert not is_inner(address)
