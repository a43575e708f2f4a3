"""Which transport: `auto` takes curl if it is there.

Owns the choice and nothing else. requests and pycurl are each loaded only when their transport is chosen: pycurl
is optional, and neither may be paid for by what only reads the spool.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Literal

from kmq.errors import InvalidSetting

if TYPE_CHECKING:
    from sender.flow import Sink

    from .settings import TransportSettings

__all__ = ["make_sink", "resolve"]


def resolve(name: Literal["auto", "requests", "curl"]) -> Literal["requests", "curl"]:
    """Return which transport `name` means on this machine: `auto` is curl where pycurl is installed."""
    if name != "auto":
        return name
    try:
        importlib.import_module("pycurl")
    except ImportError:  # not installed, or installed for a libcurl that is not there
        return "requests"
    return "curl"


def make_sink(name: Literal["auto", "requests", "curl"], settings: TransportSettings) -> Sink:
    """Return the transport called `name`, ready to send; its proxy and certificates come from the environment.

    Raises `InvalidSetting` if curl is asked for by name and pycurl cannot be loaded, or for a setting that cannot work.
    """
    if name == "requests":
        return _pooled(settings)
    try:
        return _multi(settings)
    except ImportError as error:
        if name == "auto":
            return _pooled(settings)
        raise InvalidSetting(
            "--transport (KMQ_TRANSPORT)",
            name,
            "auto or requests, as pycurl cannot be loaded here (pip install 'kmq[curl]')",
        ) from error


def _pooled(settings: TransportSettings) -> Sink:
    from .pooled import PooledSink  # noqa: PLC0415 - loads requests

    return PooledSink(settings, environ=os.environ)


def _multi(settings: TransportSettings) -> Sink:
    from .multi import MultiSink  # noqa: PLC0415 - loads pycurl, which is optional

    return MultiSink(settings, environ=os.environ)
