"""Numbers and texts that cannot be meant are errors with the bound."""

from __future__ import annotations

import pytest

import nodelens
from nodelens.cli.main import main
from nodelens.errors import ConfigError, ModelError

BASE = {"model": "mlp", "data": {"name": "digits", "subset": 40}, "metrics": []}
MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 100_000}, "threads: expected a whole number above 0 and at most 1024, or"),
        ({"seed": 10**5000}, f"got a number of very many digits, which is beyond {MOST}"),
        ({"seed": 2**64}, f"got 18446744073709551616, which is beyond {MOST}"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"data": {"name": "digits", "batch_size": 10**30}}, f"which is beyond {MOST}"),
        ({"training": {"learning_rate": 10**400}}, "got a number of very many digits"),
        ({"model": {"name": "mlp", "hidden": [10**20]}}, f"got {10**20}, which is beyond {MOST}"),
        ({"model": {"name": "mlp", "hidden": [10**13]}}, "above 0 and at most 1048576, got 1000"),
        ({"model": {"name": "cnn", "channels": [10**13]}}, "at most 1048576, got 1000"),
        ({"model": {"name": "resnet", "width": 10**13}}, "at most 1048576, got 1000"),
        ({"model": {"name": "resnet", "blocks": [10**6]}}, "at most 1024, got 1000000"),
        ({"output": "a\0b"}, r"got the text 'a\x00b', which holds a NUL character"),
        ({"data": {"name": "image_folder", "path": "a\0"}}, "which holds a NUL character"),
        ({"output": "a\ud800"}, "which holds half a character (a lone surrogate)"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_the_bound(changes, said, tmp_path):
    with pytest.raises(ConfigError) as raised:
        nodelens.run({"output": str(tmp_path), **BASE, **changes})
    assert said in str(raised.value)


def test_a_model_larger_than_the_memory_is_refused_before_it_is_made(tmp_path):
    model = {"name": "mlp", "hidden": [1 << 20, 1 << 20]}
    with pytest.raises(ModelError, match=r"model: mlp has parameters of 4,\d+.* of this machine's"):
        nodelens.run({**BASE, "model": model, "output": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metrics: [*]", "text that starts with '*' needs quotes: write '*'"),
        (
            "metrics: [a, *_l1]",
            "refers to no anchor '&_l1'; text that starts with '*' needs quotes",
        ),
        ("metrics: [!weight]", "text that starts with '!' needs quotes: write '!weight'"),
        ("metrics:\n- !weight\n", "text that starts with '!' needs quotes: write '!weight'"),
        ("seed: " + "1" * 5000, "seed: a number of 5,000 digits; at most 100 are read"),
    ],
)
def test_what_yaml_takes_for_a_mark_is_named_with_what_to_write(text, said, tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert main(["config", "check", str(path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("count", [50, 51, 400])
def test_at_most_fifty_errors_are_printed(count, tmp_path, capsys):
    path = tmp_path / "x.yaml"
    keys = "".join(f"unknown{number}: 1\n" for number in range(count))
    path.write_text("model: mlp\ndata: digits\n" + keys)
    assert main(["config", "check", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == min(count, 51)
    assert lines[-1] == f"error: and {count - 50} more" if count > 50 else "unknown49" in lines[-1]
