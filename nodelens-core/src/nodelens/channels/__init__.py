"""Channel inference: what the nodes of a model are, who writes and who reads them, and where."""

from __future__ import annotations

from nodelens.channels.groups import ChannelGraph, ChannelGroup, Extent, ParameterSlice, Site

__all__ = ["ChannelGraph", "ChannelGroup", "Extent", "ParameterSlice", "Site"]
