"""Ablation curves: loss as more and more nodes are ablated."""
