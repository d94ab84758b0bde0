"""Addresses that only this machine, its cable, or the cloud that it runs in answers at. Pure.

A name on a list of allowed hosts can be pointed at one of them by who has the name (DNS rebinding), and what answers
there trusts its callers: services of this machine, and those that give a cloud's machines their credentials.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_METADATA = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
"""Of Alibaba, Azure, Oracle, Amazon and Google; the one that most have, 169.254.169.254, is link-local."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""


def is_inner(text: str) -> bool:
    """Whether an IP address is such a one; those of private networks are not."""
    address = _unwrap(ip_address(text.partition("%")[0]))
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address in _METADATA
    )


def _unwrap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address in an IPv6 address that stands for one."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address
