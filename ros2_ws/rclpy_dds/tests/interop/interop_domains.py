"""ROS domains that nobody on this machine uses."""

import random
import socket

DOMAINS = range(10, 101)  # their ports lie below Linux' ephemeral range


def is_free(domain: int) -> bool:
    """Return whether no participant of this machine is in a domain: the first one would hold its discovery port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", 7400 + 250 * domain + 10))
        except OSError:
            return False
    return True


def free_domain() -> int:
    """Return a domain without participants on this machine."""
    while True:
        domain = random.choice(DOMAINS)
        if is_free(domain):
            return domain
