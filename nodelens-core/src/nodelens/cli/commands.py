"""The table of the core's commands: ``nodelens --help`` shows them without an import."""

from __future__ import annotations

from collections.abc import Mapping

Lazy = tuple[str, str]
"""A command as ``module:attribute`` and its help in one line."""

SECTIONS: Mapping[str, Mapping[str, Lazy]] = {
    "Work": {
        "run": ("nodelens.cli.run:run", "Do everything that a config says."),
        "plan": ("nodelens.cli.plan:plan", "Show what a run would do, without running it."),
        "inspect": (
            "nodelens.cli.inspect:inspect",
            "Show the nodes of a model, and the size of one.",
        ),
        "runs": ("nodelens.cli.runs:runs", "List the runs in an output folder."),
        "report": ("nodelens.cli.report:report", "Write the reports of a run again."),
        "config": ("nodelens.cli.config:config", "Check or show a config; schema for editors."),
    },
    "Look up": {
        "plugins": ("nodelens.cli.plugins:plugins", "List plugins and their status."),
        "metrics": ("nodelens.cli.listings:metrics", "List metrics, or explain one."),
        "backends": ("nodelens.cli.listings:backends", "List sources of models."),
        "datasets": ("nodelens.cli.listings:datasets", "List datasets."),
        "losses": ("nodelens.cli.listings:losses", "List losses, or explain one."),
        "analyses": ("nodelens.cli.listings:analyses", "List analyses of scores."),
        "interventions": (
            "nodelens.cli.listings:interventions",
            "List tests of scores by ablation.",
        ),
        "evaluations": ("nodelens.cli.listings:evaluations", "List measures of models."),
        "pruners": ("nodelens.cli.listings:pruners", "List pruning methods."),
        "recoveries": (
            "nodelens.cli.listings:recoveries",
            "List ways to train pruned models.",
        ),
        "reports": ("nodelens.cli.listings:reports", "List report writers."),
        "operators": ("nodelens.cli.listings:operators", "List operators that plugins add."),
    },
}

CORE_COMMANDS: Mapping[str, Lazy] = {
    name: lazy for section in SECTIONS.values() for name, lazy in section.items()
}
