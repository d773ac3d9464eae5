"""The author kit over every registered metric and every option."""

from importlib import import_module

import pytest
import torch

from nodelens.testing import check_metric
from nodelens.testing.composed import composed
from nodelens.testing.imports import heavy_imports
from nodelens.testing.metric_checks import scores
from nodelens.testing.rewritings import REWRITINGS
from nodelens.testing.world import make_world
from nodelens_metrics import plugin
from nodelens_metrics.activations import ActivationRMS
from nodelens_metrics.norms import WeightL2
from nodelens_metrics.parts import Part

SPECS = plugin.nodelens_register_metrics()
VARIANTS = {
    "gated_magnitude": [{"norm": "l1"}, {"norm": "linf"}],
    "group_norm": [{"power": 1}, {"normalise": False}],
    "weight_cosine": [{"top": 2}, {"absolute": True}],
    "outgoing_entropy": [{"normalise": True}],
    "write_overlap": [{"share": 0.5}],
    "zero_fraction": [{"tolerance": 0.5}, {"tolerance": 0.5, "relative": True}],
    "activation_quantile": [{"q": 0.75}, {"bins": 32}],
    "signed_quantile": [{"q": 0.75}, {"q": 0.75, "bins": 32}],
    "activation_entropy": [{"bins": 32}],
    "massive_activation": [
        {"magnitude": 1e6},
        {"ratio": 1.0},
        {"bins": 32},
        {"flag": True, "magnitude": 6.0, "ratio": 1.0},
    ],
    "lamp": [{"of": "group"}],
    "ria": [{"power": 0.25}],
    "nisp": [{"final": "inf_fs"}],
    "dass": [{"power": 0.25}],
    "composite": [{"by": "standard"}, {"parts": (Part("activation_rms", 3.0), "weight_l2")}],
    "rayleigh_quotient": [
        *({"scale": name} for name in ("layer", "trace", "largest")),
        *({"producer": "layer", "scale": name} for name in ("absolute", "trace", "largest")),
    ],
    "class_rayleigh_quotient": [{"across": "largest"}, {"across": "smallest"}],
    "spectral_alignment": [{"variance": 0.5}, {"producer": "layer"}],
    "input_directions": [{"producer": "layer"}],
    "input_information": [{"producer": "layer"}],
    "leverage": [{"ridge": 1.0}, {"centred": True}],
    "eigen_share": [{"top": None}],
    "eigenspectrum_decay": [{"skip": 1}, {"until": 1.0}, {"until": 1.0, "weighted": False}],
    "activation_correlation": [{"absolute": False}, {"top": 2}, {"sketch": 16}],
    "weight_correlation": [{"absolute": False}, {"top": 2}],
    "activation_cosine": [{"top": 2}, {"sketch": 16}],
    "next_layer_information": [{"top": 1}],
    "next_layer_cka": [{"rows": 8}],
    "supernode": [{"core": 0.5}],
    "supernode_mass": [{"core": 0.5}],
    "core_connection": [{"support": 0.5}, {"core": 0.8, "support": 0.5}],
    "core_redundancy": [{"core": 0.5}, {"core": 0.5, "top": 1}, {"sketch": 16}],
    "scar": [
        {"variant": "conn", "halo": 0.5},
        {"core": 0.5},
        {"halo": 0.5},
        {"halo": 0.5, "support": 0.5},
        {"halo": 0.5, "core": 0.5, "top": 1},
        {"halo": 0.5, "core": 0.5, "sketch": 16},
    ],
    "weight_alpha": [{"weighted": True}, {"producer": "layer"}],
    "weight_alpha_distance": [{"producer": "layer"}],
    "weight_stable_rank": [{"producer": "layer"}],
    "weight_effective_rank": [{"producer": "layer"}],
    "weight_spikes": [{"of": "number"}, {"producer": "layer"}],
    "redundancy": [
        {"top": 2},
        {"positive_only": True},
        {"noise": 0.1},
        {"correct_bias": True},
        {"sketch": 16},
    ],
    "copula_redundancy": [{"top": 2}, {"noise": 0.1}, {"samples": 64}],
    "ksg_redundancy": [{"partners": 3}, {"neighbours": 5}, {"samples": 64}],
    "class_redundancy": [{"top": 2}, {"noise": 0.1}, {"samples": 24}],
    "class_interaction": [{"noise": 0.1}, {"samples": 24}],
    "task_information": [{"target": "entropy"}, {"correct_bias": False}, {"noise": 0.1}],
    "binned_information": [{"bins": 4}, {"correct_bias": False}, {"samples": 24}],
    "copula_information": [{"shared_variance": False}, {"samples": 24}],
    "ksg_information": [{"neighbours": 5}, {"samples": 24}],
    "label_significance": [
        {"estimator": "copula"},
        {"estimator": "gaussian"},
        {"permutations": 99},
        {"bins": 4},
        {"samples": 24},
        {"seed": 1},
    ],
    **{
        f"target_{part}": [
            {"target": "nll"},
            {"top": 1},
            {"correct_bias": True},
            {"noise": 0.1},
            {"sketch": 16},
        ]
        for part in ("redundancy", "unique", "synergy")
    },
    "co_information": [
        {"target": "nll"},
        {"top": 1},
        {"correct_bias": True},
        {"noise": 0.1},
        {"sketch": 16},
    ],
    "target_excess": [
        {"target": "nll"},
        {"pool": 3, "top": 2},
        {"correct_bias": True},
        {"noise": 0.1},
        {"sketch": 16},
    ],
    **{
        name: [{"size": 4}, {"sets": 5}, {"correct_bias": True}, {"noise": 0.1}, {"sketch": 16}]
        for name in ("o_information", "total_correlation", "dual_total_correlation")
    },
    **{
        f"class_{name}": [
            {"size": 4},
            {"sets": 5},
            {"correct_bias": False},
            {"noise": 0.1},
            {"samples": 24},
        ]
        for name in ("o_information", "total_correlation", "dual_total_correlation")
    },
    "class_greedy_o_information": [
        {"goal": "synergy"},
        {"size": 3},
        {"pool": 3},
        {"noise": 0.1},
        {"samples": 32},
    ],
    "greedy_o_information": [
        {"goal": "synergy"},
        {"size": 3},
        {"pool": 3},
        {"noise": 0.1},
        {"sketch": 16},
    ],
    **{
        f"layer_{name}": [{"noise": 0.1}]
        for name in ("total_correlation", "dual_total_correlation", "o_information")
    },
    "peer_redundancy": [{"noise": 0.1}],
    "class_information": [{"shared_variance": False}],
    "taylor_2016": [{"normalise": False}],
    "snip": [{"normalise": True}],
    "loss_proxy": [{"factored": True}],
    "empirical_fisher": [{"per": "position"}],
    "true_fisher": [{"per": "position"}],
    "mean_ablation_fisher": [{"per": "row"}],
    "taylor_weights": [{"joint": True}],
    "llm_pruner_element": [
        {"order": "second"},
        {"order": "mix"},
        *({"aggregate": name} for name in ("prod", "max", "last")),
    ],
    "llm_pruner_vector": [{"aggregate": name} for name in ("prod", "max", "last")],
    "kfac": [
        {"repair": "weights"},
        {"repair": "weights", "damping": 0.0},
        {"labels": "data"},
    ],
    "eigendamage_share": [{"labels": "data"}],
    "reconstruction_error": [
        *({"repair": name} for name in ("none", "mean_bias", "weights")),
        {"damping": 1e-6},
    ],
    "hessian_trace": [
        {"matrix": "gauss_newton"},
        *({"slices": name} for name in ("producer", "consumer", "carrier")),
        {"probes": 2},
    ],
    "obd": [
        {"matrix": "gauss_newton"},
        *({"slices": name} for name in ("producer", "consumer")),
        {"probes": 2},
    ],
    "grasp": [{"slices": "producer"}, {"slices": "consumer"}],
    "conductance": [
        {"steps": 4},
        {"baseline": "mean"},
        {"target": "logit"},
        {"absolute": True},
    ],
    "conductance_completeness": [{"steps": 4}, {"baseline": "mean"}, {"target": "logit"}],
    "internal_influence": [{"steps": 4}, {"baseline": "mean"}, {"target": "logit"}],
}
REQUIRED = {
    "composite": {"parts": ("activation_rms", "weight_l2")},
    "conductance": {"steps": 3},  # of 20, for time
    "conductance_completeness": {"steps": 3},
    "internal_influence": {"steps": 3},
    "hessian_trace": {"probes": 1},  # of 8
    "obd": {"probes": 1},
}
PARTS = {"activation_rms": ActivationRMS(), "weight_l2": WeightL2()}


def metric_class(target):
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def made(spec, **options):
    return metric_class(spec.target)(**{**REQUIRED.get(spec.name, {}), **options})


CHECKS = [
    check
    for spec in SPECS
    for check in check_metric(made(spec), variants=VARIANTS.get(spec.name, []), parts=PARTS)
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_metric(check):
    check.run()


def test_the_variants_belong_to_registered_metrics():
    assert VARIANTS.keys() <= {spec.name for spec in SPECS}


def test_names_and_targets_are_unique():
    assert len({spec.name for spec in SPECS}) == len({spec.target for spec in SPECS}) == len(SPECS)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_family_is_a_file(spec):
    assert spec.target.startswith(f"nodelens_metrics.{spec.family}:")


def test_the_plugin_imports_nothing_heavy():
    assert heavy_imports("nodelens_metrics.plugin") == ""


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_an_invariance_that_is_not_declared_does_not_hold(spec):
    world, settings = make_world(), [{}, *VARIANTS.get(spec.name, [])]
    metrics = [composed(made(spec, **options), PARTS) for options in settings]
    for rewriting in REWRITINGS.keys() - metrics[0].invariances:
        found = [scores(metric, REWRITINGS[rewriting](world)) for metric in metrics]
        expected = [scores(metric, world) for metric in metrics]
        same = [torch.allclose(*pair) for pair in zip(found, expected, strict=True)]
        assert not all(same), f"{spec.name} is invariant to {rewriting}"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("activations:ZeroFraction", {"tolerance": -1.0}),
        ("magnitudes:GatedMagnitude", {"norm": "l3"}),
        ("magnitudes:GroupNorm", {"power": 3}),
        ("geometry:WeightCosine", {"top": 0}),
        ("writing:WriteOverlap", {"share": 0.0}),
        ("distributions:ActivationQuantile", {"q": 1.0}),
        ("distributions:SignedQuantile", {"bins": 1}),
        ("distributions:MassiveActivation", {"ratio": 0.0}),
        ("channels:RIA", {"power": -0.5}),
        ("channels:DaSS", {"power": 1.5}),
        ("parts:Part", {"weight": 0.0, "name": "taylor"}),
        ("information:Redundancy", {"top": 0}),
        ("kfac:KFAC", {"damping": -0.1}),
        ("reconstruction:ReconstructionError", {"repair": "bias"}),
        ("reconstruction:ReconstructionError", {"damping": -0.1}),
        ("curvature:HessianTrace", {"probes": 0}),
        ("curvature:OBD", {"matrix": "fisher"}),
        ("curvature:GraSP", {"slices": "carrier"}),
        ("weight_gradients:LLMPrunerElement", {"order": "third"}),
        ("weight_gradients:LLMPrunerVector", {"aggregate": "mean"}),
        ("paths:Conductance", {"baseline": "noise"}),
        ("paths:InternalInfluence", {"target": "margin"}),
        ("fisher:TrueFisher", {"per": "token"}),
        ("information:Redundancy", {"noise": 0.0}),
        ("information:PeerRedundancy", {"noise": -1e-6}),
        ("targets:TaskInformation", {"target": "loss"}),
        ("targets:BinnedInformation", {"bins": 1}),
        ("targets:BinnedInformation", {"bins": 256}),
        ("targets:KSGInformation", {"neighbours": 0}),
        ("permutation:LabelSignificance", {"permutations": 0}),
        ("permutation:LabelSignificance", {"estimator": "ksg"}),
        ("decomposition:TargetExcess", {"pool": 0}),
        ("higher_order:OInformation", {"size": 2}),
        ("greedy:GreedyOInformation", {"goal": "both"}),
    ],
)
def test_options_out_of_range_are_refused(target, options):
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' must be"):
        metric_class(f"nodelens_metrics.{target}")(**options)


def test_the_metric_of_a_largest_value_has_no_jackknife():
    kinds = {spec.name: metric_class(spec.target) for spec in SPECS}
    without = {name for name, kind in kinds.items() if not getattr(kind, "jackknife", True)}
    assert without == {
        "class_dual_total_correlation",
        "class_greedy_o_information",
        "class_o_information",
        "class_total_correlation",
        "dual_total_correlation",
        "greedy_o_information",
        "label_significance",
        "massive_activation",
        "o_information",
        "outlier_index",
        "supernode",
        "total_correlation",
    }
