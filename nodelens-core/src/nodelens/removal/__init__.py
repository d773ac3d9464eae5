"""Exact removal: nodes leave a model for good, and an equivalence check compares the outputs.

`removal` carries a removal out, all or nothing; `refusals` says why not; `slicing` cuts tensors,
`attributes`, `adjustments` and `search` make modules' integers follow, `equivalence` compares with
the masked model in the `precision` that is needed, `journal` takes everything back. `verify` tries
every group; `cost` says what a node costs.
"""
