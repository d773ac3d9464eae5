"""The author kit over every registered metric and every option."""

import pytest
import torch
from tests.metrics.every_metric import SPECS, made, metric_class

from nodelens.testing import check_metric
from nodelens.testing.composed import composed
from nodelens.testing.imports import heavy_imports
from nodelens.testing.metric_checks import scores
from nodelens.testing.rewritings import REWRITINGS, world_of
from nodelens.testing.variants import drawn_variants
from nodelens.testing.world import make_world
from nodelens_metrics.activations.activity import ActivationRMS
from nodelens_metrics.weights.norms import WeightL2

PARTS = {"activation_rms": ActivationRMS(), "weight_l2": WeightL2()}


CHECKS = [check for spec in SPECS for check in check_metric(made(spec), parts=PARTS)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_metric(check):
    check.run()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_family_is_a_package(spec):
    assert spec.target.startswith(f"nodelens_metrics.{spec.family}.")


@pytest.mark.parametrize("family", sorted({spec.family for spec in SPECS}))
def test_a_plugin_imports_nothing_heavy(family):
    assert heavy_imports(f"nodelens_metrics.{family}.plugin") == ""


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_an_invariance_that_is_not_declared_does_not_hold(spec):
    settings = [{}, *drawn_variants(metric_class(spec.target))]
    metrics = [composed(made(spec, **options), PARTS) for options in settings]
    for rewriting in REWRITINGS.keys() - metrics[0].info.invariances:
        found = [scores(metric, world_of(rewriting)) for metric in metrics]
        expected = [scores(metric, make_world()) for metric in metrics]
        same = [torch.allclose(*pair) for pair in zip(found, expected, strict=True)]
        assert not all(same), f"{spec.name} is invariant to {rewriting}"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("activations.activity:ZeroFraction", {"tolerance": -1.0}),
        ("weights.magnitudes:GatedMagnitude", {"norm": "l3"}),
        ("weights.magnitudes:GroupNorm", {"power": 3}),
        ("weights.geometry:WeightCosine", {"top": 0}),
        ("weights.writing:WriteOverlap", {"fraction": 0.0}),
        ("activations.distributions:ActivationQuantile", {"q": 1.0}),
        ("activations.distributions:SignedQuantile", {"bins": 1}),
        ("activations.distributions:MassiveActivation", {"ratio": 0.0}),
        ("weighted_activations.channels:RIA", {"power": -0.5}),
        ("weighted_activations.channels:DaSS", {"power": 1.5}),
        ("composites.composite_parts:CompositePart", {"weight": 0.0, "name": "taylor"}),
        ("information.redundancy:Redundancy", {"top": 0}),
        ("curvature.kfac:KFAC", {"damping": -0.1}),
        ("weighted_activations.reconstruction:ReconstructionError", {"repair": "bias"}),
        ("weighted_activations.reconstruction:ReconstructionError", {"damping": -0.1}),
        ("curvature.hessian:HessianTrace", {"probes": 0}),
        ("curvature.hessian:OBD", {"matrix": "fisher"}),
        ("curvature.hessian:GraSP", {"slices": "carrier"}),
        ("gradients.weight_gradients:LLMPrunerElement", {"order": "third"}),
        ("gradients.weight_gradients:LLMPrunerVector", {"aggregate": "mean"}),
        ("paths.conductance:Conductance", {"baseline": "noise"}),
        ("paths.conductance:InternalInfluence", {"target": "margin"}),
        ("curvature.fisher:TrueFisher", {"per": "token"}),
        ("information.redundancy:Redundancy", {"noise": 0.0}),
        ("information.redundancy:PeerRedundancy", {"noise": -1e-6}),
        ("labels.targets:TaskInformation", {"target": "loss"}),
        ("labels.targets:BinnedInformation", {"bins": 1}),
        ("labels.targets:BinnedInformation", {"bins": 256}),
        ("labels.targets:KSGInformation", {"neighbours": 0}),
        ("labels.permutation:LabelSignificance", {"permutations": 0}),
        ("labels.permutation:LabelSignificance", {"estimator": "ksg"}),
        ("information.decomposition:TargetExcess", {"pool": 0}),
        ("information.higher_order:OInformation", {"size": 2}),
        ("information.greedy:GreedyOInformation", {"goal": "both"}),
    ],
)
def test_options_out_of_range_are_refused(target, options):
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' must be"):
        metric_class(f"nodelens_metrics.{target}")(**options)


def test_metrics_without_an_interval_say_why():
    kinds = {spec.name: metric_class(spec.target) for spec in SPECS}
    without = {name for name, kind in kinds.items() if kind.info.no_interval}
    assert without == {
        "binned_information",
        "redundancy",
        "participation_contribution",
        "skewness",
        "kurtosis",
        "activation_cosine",
        "activation_correlation",
        "class_dual_total_correlation",
        "class_greedy_o_information",
        "class_o_information",
        "class_total_correlation",
        "copula_information",
        "copula_redundancy",
        "core_connection",
        "core_redundancy",
        "dual_total_correlation",
        "effective_rank",
        "eigenspectrum_decay",
        "greedy_o_information",
        "ksg_information",
        "ksg_redundancy",
        "label_significance",
        "layer_dual_total_correlation",
        "layer_total_correlation",
        "leverage",
        "massive_activation",
        "o_information",
        "outlier_index",
        "peer_redundancy",
        "rank_contribution",
        "spectral_alignment",
        "spectral_entropy",
        "supernode",
        "supernode_mass",
        "target_unique",
        "task_information",
        "total_correlation",
    }
