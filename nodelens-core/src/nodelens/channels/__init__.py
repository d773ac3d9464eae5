"""Channel inference: the nodes of a model, the weights that write and read them, the sites."""

from __future__ import annotations

from nodelens.channels.groups import ChannelGraph, ChannelGroup, Extent, ParameterSlice, Site

__all__ = ["ChannelGraph", "ChannelGroup", "Extent", "ParameterSlice", "Site"]
