"""The metrics of this distribution; a metric's module is imported when a config names it."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import MetricSpec

_METRICS = {
    "norms": {
        "weight_l1": ("WeightL1", "L1 norm of the weights that write a node."),
        "weight_l2": ("WeightL2", "L2 norm of the weights that write a node."),
        "outgoing_l2": ("OutgoingL2", "L2 norm of the weights that read a node."),
    },
    "activations": {
        "activation_mean_abs": ("ActivationMeanAbs", "Mean absolute activation."),
        "activation_rms": ("ActivationRMS", "Root mean square activation."),
        "activation_variance": ("ActivationVariance", "Variance of the activation."),
        "zero_fraction": ("ZeroFraction", "Share of positions where a node is zero (APoZ)."),
        "kurtosis": ("Kurtosis", "Kurtosis of the activation; 3 for a Gaussian."),
        "outlier_index": ("OutlierIndex", "Largest |activation| over the root mean square."),
        "minitron": ("Minitron", "L2 norm over rows of the mean |activation| of a row."),
    },
    "contributions": {
        "wanda_sp": ("WandaSP", "Mean |outgoing weight| times root mean square activation."),
        "flap_wifv": ("FlapWIFV", "Variance times squared outgoing weights (FLAP)."),
    },
    "alignment": {
        "rayleigh_quotient": ("RayleighQuotient", "Input variance along a node's weights."),
        "input_information": ("InputInformation", "Gaussian information about the input."),
    },
    "information": {
        "redundancy": ("Redundancy", "Mean information shared with each other node."),
        "peer_redundancy": ("PeerRedundancy", "Information that all other nodes have about it."),
    },
    "classes": {
        "class_selectivity": ("ClassSelectivity", "Favourite class against the other classes."),
        "fisher_ratio": ("FisherRatio", "Variance between classes over variance within."),
        "class_information": ("ClassInformation", "Gaussian information about the label."),
    },
    "gradients": {
        "taylor": ("Taylor", "Squared first-order loss change of closing a node's gate."),
        "taylor_2016": ("Taylor2016", "Absolute first-order loss change, normalised by layer."),
        "token_taylor": ("TokenTaylor", "Mean absolute first-order loss change per position."),
        "first_order": ("FirstOrder", "Signed first-order loss change of zeroing."),
        "sample_fisher": ("SampleFisher", "Second-order loss change from the Fisher over rows."),
        "loss_proxy": ("LossProxy", "Loss change from the Fisher over positions."),
        "mean_ablation_fisher": ("MeanAblationFisher", "Loss change of replacing by the mean."),
        "gradient_norm": ("GradientNorm", "Root mean square gradient at the node."),
    },
}


@hookimpl
def nodelens_register_metrics() -> list[MetricSpec]:
    """Return all metrics of all families."""
    return [
        MetricSpec(
            name=name, target=f"nodelens_metrics.{family}:{target}", summary=summary, family=family
        )
        for family, metrics in _METRICS.items()
        for name, (target, summary) in metrics.items()
    ]
