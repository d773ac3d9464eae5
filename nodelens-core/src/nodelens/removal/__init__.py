"""Exact removal: nodes leave a model for good, with a proof that nothing else has changed.

`removal` carries a removal out, all or nothing; `refusals` says why not; `slicing` cuts tensors,
`attributes`, `adjustments` and `search` make modules' integers follow, `proof` compares with the
masked model in the `precision` it needs, `journal` takes everything back. `verify` tries every
group; `cost` says what a node costs.
"""
