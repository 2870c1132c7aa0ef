"""The address of a caller, through proxies: what they say is believed, what comes before them is not (C-RL-05)."""

from __future__ import annotations

import pytest

from control_plane.edge.addresses import Addresses
from control_plane.edge.grpc.call import address_of

PROXIES = Addresses(("10.0.0.0/8", "192.168.1.7", "fd00::/8"))


def test_without_trusted_proxies_only_the_connection_is_believed() -> None:
    addresses = Addresses(())
    assert addresses.of("10.0.0.1", "1.2.3.4") == "10.0.0.1"
    assert addresses.of("", "1.2.3.4") == "unknown"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 192.168.1.7", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("5.5.5.5", "1.2.3.4", "5.5.5.5"),
        ("192.168.1.8", "1.2.3.4", "192.168.1.8"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("10.0.0.1", "[2001:db8::5]:443", "2001:db8::5"),
        ("10.0.0.1", "1.2.3.4:5555", "1.2.3.4"),
        ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"),
        ("10.0.0.1", ",", "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_counts(peer: str, forwarded_for: str, address: str) -> None:
    assert PROXIES.of(peer, forwarded_for) == address


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:1.2.3.4:5678", "1.2.3.4"),
        ("ipv6:[::1]:5678", "::1"),
        ("ipv6:%5B2001:db8::5%5D:5678", "2001:db8::5"),
        ("unix:/run/socket", ""),
        ("unix:", ""),
    ],
)
def test_grpcs_word_for_a_caller_holds_its_address(peer: str, address: str) -> None:
    assert address_of(peer) == address
