"""Exact removal: nodes are pruned from a model, and an equivalence check compares the outputs.

`removal` performs a removal, all or nothing; `refusals` says why one is refused. `slicing` slices
tensors; `attributes`, `adjustments` and `search` make modules' integers follow. `equivalence`
compares with the masked model, in `double_precision` where possible; `journal` undoes changes.
`verify` tries every group; `cost` counts parameters and multiply-accumulates of models and nodes.
"""
