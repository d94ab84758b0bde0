"""Which network a client is in: what is counted by client is counted by that."""

from ipaddress import IPv6Address, ip_address, ip_network


def network_of(client: str) -> str:
    """Of a client's address, which may come from a proxy; of other texts "".

    A machine has all addresses of its IPv6 network of 64 bits.
    """
    try:
        address = ip_address(client)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address.packed, 64), strict=False))
    return str(address)
