import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nodelens.data.stratified_sampling import draw_stratified, proportional_counts

COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any)


@given(COUNTS, st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_shares_add_up_and_are_within_one_of_proportion(counts, fraction):
    total = round(sum(counts) * fraction)
    given_out = proportional_counts(torch.tensor(counts), total).tolist()
    assert sum(given_out) == total
    for count, share in zip(counts, given_out, strict=True):
        assert 0 <= share <= count
        assert abs(share - count * total / sum(counts)) < 1


@given(COUNTS, st.floats(0, 1), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_a_draw_and_its_rest_are_all_samples(counts, fraction, seed):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    count = round(len(targets) * fraction)
    chosen, others = draw_stratified(targets, count, torch.Generator().manual_seed(seed))
    assert len(chosen) == count
    assert sorted([*chosen.tolist(), *others.tolist()]) == list(range(len(targets)))


def test_every_sample_is_equally_likely():
    targets = torch.tensor([0] * 4 + [1] * 8)
    generator = torch.Generator().manual_seed(0)
    hits = torch.zeros(12)
    for _ in range(3000):
        hits[draw_stratified(targets, 3, generator)[0]] += 1
    assert torch.all((hits / 3000 - 0.25).abs() < 0.04)  # five standard errors of 0.008
