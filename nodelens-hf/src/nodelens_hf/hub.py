"""Requests to the hub for models, or its cache alone without a network."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

log = logging.getLogger("nodelens")


@contextmanager
def hub_or_cache(source: str) -> Iterator[None]:
    """Read the hub's cache alone where the hub's host has no address.

    Requests without a network take half a minute of retries for every file. Behind a proxy names
    are resolved there, and the hub is requested.
    """
    from huggingface_hub import constants

    settings: Any = constants
    proxied = getproxies().keys() & {"http", "https", "all"}
    if settings.HF_HUB_OFFLINE or proxied or _has_address(settings.ENDPOINT):
        yield
        return
    log.info("%s: there is no network; the hub's cache is read", source)
    settings.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        settings.HF_HUB_OFFLINE = False


def _has_address(url: str) -> bool:
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:
        return False
    return True
