from __future__ import annotations

import torch

from nodelens.scoring.jackknife import jackknife_se


def test_of_a_mean_with_single_sample_folds_is_the_textbook_standard_error():
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    without = (x.sum(0) - x) / 49
    se = jackknife_se(x.mean(0), without, torch.ones(50))
    assert torch.allclose(se, x.std(0) / 50**0.5, rtol=1e-12)


def test_equal_folds_give_the_delete_one_group_formula():
    x = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    folds = x.view(8, 5, 2)
    without = torch.stack([(x.sum(0) - folds[k].sum(0)) / 35 for k in range(8)])
    centred = without - without.mean(0)
    expected = (7 / 8 * centred.square().sum(0)).sqrt()
    assert torch.allclose(jackknife_se(x.mean(0), without, torch.full((8,), 5.0)), expected)


def test_unequal_folds_stay_close_to_the_true_error_of_a_mean():
    """The standard deviation of a mean of 400 unit normals is 0.05, whatever the folds."""
    generator = torch.Generator().manual_seed(2)
    sizes = torch.tensor([10, 20, 30, 40, 50, 60, 80, 110])
    errors = []
    for _ in range(300):
        x = torch.randn(400, 1, dtype=torch.float64, generator=generator)
        sums = torch.stack([part.sum(0) for part in x.split(sizes.tolist())])
        without = (x.sum(0) - sums) / (400 - sizes).unsqueeze(-1)
        errors.append(jackknife_se(x.mean(0), without, sizes.double()).square())
    assert abs(torch.stack(errors).mean().sqrt().item() - 0.05) < 0.003
