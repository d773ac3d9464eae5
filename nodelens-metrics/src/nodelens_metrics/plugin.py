"""The metrics of this distribution and an analysis; modules are imported when they are used."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import AnalysisSpec, MetricSpec

_METRICS = {
    "norms": {
        "weight_l1": ("WeightL1", "L1 norm of the weights that write a node."),
        "weight_l2": ("WeightL2", "L2 norm of the weights that write a node."),
        "weight_linf": ("WeightLinf", "Largest weight that writes a node."),
        "outgoing_l1": ("OutgoingL1", "L1 norm of the weights that read a node."),
        "outgoing_l2": ("OutgoingL2", "L2 norm of the weights that read a node."),
        "outgoing_linf": ("OutgoingLinf", "Largest weight that reads a node."),
        "group_l1": ("GroupL1", "L1 norm of all weights that write or read a node."),
        "group_l2": ("GroupL2", "L2 norm of all weights that write or read a node."),
        "group_linf": ("GroupLinf", "Largest weight that writes or reads a node."),
    },
    "magnitudes": {
        "gated_magnitude": ("GatedMagnitude", "Norms of gate, up and down weights, added up."),
        "bn_scale": ("BNScale", "Scale of the normalisation of a node (network slimming)."),
        "group_norm": ("GroupNorm", "Mean squared weights of all coupled slices (DepGraph)."),
        "lamp": ("LAMP", "Share of a node's weights in those of all larger nodes."),
    },
    "geometry": {
        "fpgm": ("FPGM", "Sum of the distances to the other nodes' weights."),
        "weight_cosine": ("WeightCosine", "Mean cosine with the other nodes' weights."),
    },
    "writing": {
        "outgoing_entropy": ("OutgoingEntropy", "Entropy of a node's outgoing connections."),
        "write_concentration": ("WriteConcentration", "How few connections hold what it writes."),
        "write_overlap": ("WriteOverlap", "Share written where the whole group writes most."),
    },
    "propagation": {
        "nisp": ("NISP", "Importance passed back from the outputs along absolute weights."),
    },
    "activations": {
        "activation_mean": ("ActivationMean", "Mean activation, with its sign."),
        "activation_mean_abs": ("ActivationMeanAbs", "Mean absolute activation."),
        "activation_rms": ("ActivationRMS", "Root mean square activation."),
        "activation_variance": ("ActivationVariance", "Variance of the activation."),
        "zero_fraction": ("ZeroFraction", "Share of positions where a node is zero (APoZ)."),
        "kurtosis": ("Kurtosis", "Kurtosis of the activation; 3 for a Gaussian."),
        "skewness": ("Skewness", "Skewness of the activation; 0 for a symmetric one."),
        "outlier_index": ("OutlierIndex", "Largest |activation| over the root mean square."),
        "minitron": ("Minitron", "L2 norm over rows of the mean |activation| of a row."),
    },
    "distributions": {
        "activation_quantile": ("ActivationQuantile", "Quantile of the absolute activation."),
        "signed_quantile": ("SignedQuantile", "Quantile of the activation; the median."),
        "activation_entropy": ("ActivationEntropy", "Entropy over orders of magnitude."),
        "massive_activation": ("MassiveActivation", "How far the peak is over both thresholds."),
    },
    "contributions": {
        "wanda_sp": ("WandaSP", "Mean |outgoing weight| times root mean square activation."),
        "flap_ifv": ("FlapIFV", "Variance of the activation (FLAP)."),
        "flap_wifv": ("FlapWIFV", "Variance times squared outgoing weights (FLAP)."),
        "flap_wifn": ("FlapWIFN", "Mean |outgoing weight| times activation norm (FLAP)."),
        "independent_contribution": (
            "IndependentContribution",
            "Norm of outgoing weights times mean absolute activation.",
        ),
    },
    "channels": {
        "wanda_channel": ("WandaChannel", "Wanda scores of all weights of a node, added up."),
        "ria": ("RIA", "Relative importance and activations of what reads a node."),
        "dass": ("DaSS", "Dependency-aware scores of all weights of a gated unit."),
    },
    "composites": {
        "composite": ("Composite", "Weighted mean of the ranks by other metrics of the run."),
    },
    "alignment": {
        "rayleigh_quotient": ("RayleighQuotient", "Input variance along a node's weights."),
        "class_rayleigh_quotient": ("ClassRayleighQuotient", "Rayleigh quotient within a class."),
        "input_directions": ("InputDirections", "How many directions of its input a node uses."),
        "spectral_alignment": ("SpectralAlignment", "Weights in the input's leading directions."),
        "input_information": ("InputInformation", "Gaussian information about the input."),
    },
    "spectrum": {
        "leverage": ("Leverage", "Ridge leverage: what no other node can stand in for."),
        "rank_contribution": ("RankContribution", "Fall of the effective rank without the node."),
        "participation_contribution": (
            "ParticipationContribution",
            "Fall of the participation ratio without the node.",
        ),
        "eigen_share": ("EigenShare", "Share of the variance of the leading directions."),
        "effective_rank": ("EffectiveRank", "Directions that a layer's activations use."),
        "participation_ratio": ("ParticipationRatio", "Directions that hold a layer's variance."),
        "spectral_entropy": ("SpectralEntropy", "Entropy of a layer's variance over directions."),
        "nesum": ("NESum", "Total variance over that of the first direction."),
        "eigenspectrum_decay": ("EigenspectrumDecay", "Exponent of a layer's eigenvalues."),
    },
    "similarity": {
        "activation_correlation": ("ActivationCorrelation", "Mean correlation with other nodes."),
        "weight_correlation": ("WeightCorrelation", "Mean correlation of incoming weights."),
        "activation_cosine": ("ActivationCosine", "Mean cosine with other nodes."),
        "next_layer_information": ("NextLayerInformation", "What it says of the next group."),
        "next_layer_cka": ("NextLayerCKA", "How alike a group and the next one are."),
    },
    "feature_maps": {
        "hrank": ("HRank", "Mean rank of a node's feature map."),
        "chip": ("Chip", "What a node adds to the nuclear norm of the maps."),
        "block_influence": ("BlockInfluence", "How much a block changes what it reads."),
    },
    "supernodes": {
        "supernode": ("Supernode", "Whether a node carries the loss: the core."),
        "supernode_mass": ("SupernodeMass", "Share of the loss proxy that the core holds."),
        "core_connection": ("CoreConnection", "Share of weight that goes where the core writes."),
        "core_redundancy": ("CoreRedundancy", "What a node's gradient shares with the core's."),
        "scar": ("Scar", "Loss proxy, lowered in the redundant halo of the core."),
    },
    "weight_spectrum": {
        "weight_alpha": ("WeightAlpha", "Power-law exponent of a weight's spectrum."),
        "weight_alpha_distance": ("WeightAlphaDistance", "How badly the power law fits."),
        "weight_stable_rank": ("WeightStableRank", "Stable rank of a weight."),
        "weight_effective_rank": ("WeightEffectiveRank", "Effective rank of a weight."),
        "weight_spikes": ("WeightSpikes", "How far a weight's spectrum sticks out of randomness."),
    },
    "information": {
        "redundancy": ("Redundancy", "Mean information shared with each other node."),
        "peer_redundancy": ("PeerRedundancy", "Information that all other nodes have about it."),
    },
    "peers": {
        "copula_redundancy": ("CopulaRedundancy", "Mean shared information, by ranks."),
        "ksg_redundancy": ("KSGRedundancy", "Information shared with the nearest, by neighbours."),
        "class_redundancy": ("ClassRedundancy", "Mean shared information within classes."),
        "class_interaction": ("ClassInteraction", "What the class adds to shared information."),
    },
    "targets": {
        "task_information": ("TaskInformation", "Gaussian information about the output."),
        "binned_information": ("BinnedInformation", "Binned information about the label."),
        "copula_information": ("CopulaInformation", "Information about the label, by ranks."),
        "ksg_information": ("KSGInformation", "Information about the label, by neighbours."),
    },
    "permutation": {
        "label_significance": ("LabelSignificance", "p-value of information about the label."),
    },
    "decomposition": {
        "target_redundancy": ("TargetRedundancy", "What others say about the output as well."),
        "target_unique": ("TargetUnique", "What others do not say about the output."),
        "target_synergy": ("TargetSynergy", "What only pairs say about the output."),
        "co_information": ("CoInformation", "Redundancy less synergy about the output."),
        "target_excess": ("TargetExcess", "Largest synergies with redundant partners."),
    },
    "higher_order": {
        "o_information": ("OInformation", "Redundancy less synergy of sets with the node."),
        "total_correlation": ("TotalCorrelation", "What sets with the node have in common."),
        "dual_total_correlation": ("DualTotalCorrelation", "What sets with the node share."),
    },
    "greedy": {
        "greedy_o_information": ("GreedyOInformation", "O-information of the best set found."),
    },
    "class_sets": {
        "class_o_information": ("ClassOInformation", "O-information of sets within classes."),
        "class_total_correlation": ("ClassTotalCorrelation", "Total correlation within classes."),
        "class_dual_total_correlation": ("ClassDualTotalCorrelation", "Its dual within classes."),
        "class_greedy_o_information": ("ClassGreedyOInformation", "The best set within classes."),
    },
    "layer_information": {
        "layer_total_correlation": ("LayerTotalCorrelation", "Total correlation of a layer."),
        "layer_dual_total_correlation": ("LayerDualTotalCorrelation", "Dual total correlation."),
        "layer_o_information": ("LayerOInformation", "O-information of a layer."),
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
        "attribution_patching": ("AttributionPatching", "Absolute loss change by patching a row."),
        "snip": ("Snip", "Absolute gradient of the whole loss at a node's gate."),
        "gradient_norm": ("GradientNorm", "Root mean square gradient at the node."),
    },
    "mean_ablation": {
        "mean_ablation_first_order": (
            "MeanAblationFirstOrder",
            "Signed first-order loss change of replacing by the mean.",
        ),
        "mean_ablation_fisher": ("MeanAblationFisher", "Loss change of replacing by the mean."),
    },
    "fisher": {
        "sample_fisher": ("SampleFisher", "Second-order loss change from the Fisher over rows."),
        "loss_proxy": ("LossProxy", "Loss change from the Fisher over positions."),
        "empirical_fisher": ("EmpiricalFisher", "Fisher information of the labels at a gate."),
        "true_fisher": ("TrueFisher", "Fisher information of the model's own predictions."),
        "curvature": ("Curvature", "Mean squared gradient of the loss at a node."),
    },
    "weight_gradients": {
        "taylor_weights": ("TaylorWeights", "Squared first-order change of a node's weights."),
        "llm_pruner_element": ("LLMPrunerElement", "Loss change of a node's weights one by one."),
        "llm_pruner_vector": ("LLMPrunerVector", "Loss change of a node's weights, by slice."),
    },
    "kfac": {
        "kfac": ("KFAC", "Loss change of a node's weights by Kronecker factors."),
        "eigendamage_share": ("EigenDamageShare", "Share of the loss in the Fisher's directions."),
    },
    "reconstruction": {
        "reconstruction_error": (
            "ReconstructionError",
            "Output error of the next layer after removal and repair.",
        ),
    },
    "curvature": {
        "hessian_trace": ("HessianTrace", "Trace of the Hessian over a node's parameters."),
        "obd": ("OBD", "Loss change of a node's parameters by the Hessian's diagonal."),
        "grasp": ("GraSP", "Change of the gradient flow when a node's weights go."),
    },
    "paths": {
        "conductance": ("Conductance", "What flows through a node on the way from a baseline."),
        "conductance_completeness": (
            "ConductanceCompleteness",
            "Share of the output's change that a layer's conductances sum to.",
        ),
        "internal_influence": ("InternalInfluence", "Mean gradient on the way from a baseline."),
    },
}


@hookimpl
def nodelens_register_analyses() -> list[AnalysisSpec]:
    """Return the analysis of composites."""
    return [
        AnalysisSpec(
            "composition",
            "nodelens_metrics.composition:Composition",
            "Share of each part in a composite's ranking.",
        )
    ]


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
