"""The reasons why metrics have no interval, each for several of them."""

from __future__ import annotations

BIASED = "its bias is several standard errors where a layer has few positions for each node"
CHOSEN_SETS = "the sets that it takes change with the samples"
CHOSEN_CORE = "the core that it refers to changes with the samples"
HIGH_MOMENT = "its largest terms are too few in the samples for an interval that covers"
LARGEST = "a largest value is in one fold only"
UNMEASURED = "its interval has not been measured on real activations"
NEAR_ZERO = "values near zero are biased upwards, so that an interval misses them"
