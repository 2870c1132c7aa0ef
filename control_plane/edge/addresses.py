"""Which address a request comes from, through the proxies that the operator trusts (C-RL-05)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address
UNKNOWN = "unknown"  # a caller on a Unix socket has no address


class Addresses:
    """`proxies` are networks or addresses, whose word in X-Forwarded-For is believed."""

    def __init__(self, proxies: Sequence[str]) -> None:
        self._proxies = [ip_network(proxy, strict=False) for proxy in proxies]

    def of(self, peer: str, forwarded_for: str = "") -> str:
        """The last address that no trusted proxy has: what stands before it anybody may have written."""
        if not self._proxies or not forwarded_for:
            return peer or UNKNOWN
        address = peer
        for told in [part.strip() for part in reversed(forwarded_for.split(","))]:
            if not self._is_proxy(address):
                break
            named = _parsed(told)
            if named is None:
                break
            address = str(named)
        return address

    def _is_proxy(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in network for network in self._proxies)


def _parsed(text: str) -> Address | None:
    """An address, which may have a port, as `1.2.3.4:80` and `[::1]:80`; None where it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
