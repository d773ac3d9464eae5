"""Half of the neurons and of the key-value groups of every family, loaded by another process."""

from __future__ import annotations

import json

import pytest
from tests.hf.architectures import SUITE, build
from tests.hf.folders import CUTS, read, write

NO_HEADS = {"convnext", "mobilenet_v2", "resnet"}
ONE_HEAD_SIZE = {"bert", "roberta", "distilbert", "gpt2", "opt", "gpt_neox", "swin"}
"""Families that derive the size of a head from the number of heads."""
FIXED_NEURONS = {"convnext", "mobilenet_v2", "resnet"}
"""Families whose configuration has no inner widths."""
CASES = [
    (name, cut)
    for name in sorted(SUITE)
    for cut in CUTS
    if not (cut.startswith("kv_groups") and name in NO_HEADS)
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return what was done to every model, and what a fresh process found, by family and cut."""
    root = tmp_path_factory.mktemp("folders")
    facts = {
        (name, cut): write(name, cut, build(name), root / f"{name}.{cut}")
        for name in SUITE
        for cut in CUTS
    }
    return root, facts, read(root)


@pytest.mark.parametrize(("name", "cut"), CASES)
def test_a_fresh_process_finds_the_same_outputs(written, name, cut):
    _, facts, found = written
    made, loaded = facts[name, cut], found[f"{name}.{cut}"]
    assert made["changed"]
    assert made["exact"]
    assert made["parameters"][1] < made["parameters"][0]
    assert loaded["nodelens_hf"] == 0.0
    if made["loader"] == "transformers":
        assert loaded["transformers"] == 0.0
    else:
        assert "nodelens_hf.load" in loaded["transformers"]


@pytest.mark.parametrize(("name", "cut"), CASES)
def test_plain_from_pretrained_does_wherever_the_configuration_can_say_the_widths(
    written, name, cut
):
    expected = "transformers"
    unsaid = ONE_HEAD_SIZE if cut.startswith("kv_groups") else FIXED_NEURONS
    if name in unsaid or cut.endswith("one layer"):
        expected = "nodelens_hf"
    assert written[1][name, cut]["loader"] == expected


@pytest.mark.parametrize("name", sorted(NO_HEADS))
def test_convolutions_have_no_heads(written, name):
    assert written[1][name, "kv_groups"]["kind"] is None


@pytest.mark.parametrize(("name", "cut"), CASES)
def test_a_folder_holds_no_pickle_and_no_other_weights(written, name, cut):
    folder = written[0] / f"{name}.{cut}"
    made = written[1][name, cut]
    names = {path.name for path in folder.iterdir()}
    weights = "model" if made["loader"] == "transformers" else "nodelens"
    assert f"{weights}.safetensors" in names
    allowed = {
        *("config.json", "generation_config.json", "README.md", f"{weights}.safetensors"),
        *("nodelens.json", "outputs.safetensors", "facts.json"),
    }
    assert names <= allowed
    size = (folder / f"{weights}.safetensors").stat().st_size
    assert size < 4 * made["parameters"][0] + 40_000
    if weights == "nodelens":
        note = json.loads((folder / "nodelens.json").read_text())["note"]
        assert "cannot say that" in note
        assert (
            note.removeprefix("load with nodelens_hf.load(folder): ")
            in (folder / "README.md").read_text()
        )
