"""Files of tensors that are written and read one by one."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from nodelens.errors import RunError
from nodelens.storage.tensor_files import (
    TensorSource,
    read_metadata,
    read_tensors,
    source_in,
    source_of,
    write_tensors,
)

TENSORS = {
    "b": torch.arange(6.0, dtype=torch.float64).view(2, 3).T,
    "a": torch.tensor(True),
    "empty": torch.tensor([], dtype=torch.int64),
    "half": torch.tensor([1.5, -2.0]).bfloat16(),
    "integers": torch.tensor([[1], [2]], dtype=torch.int32),
}


def write(path, **metadata):
    write_tensors(path, {name: source_of(t) for name, t in TENSORS.items()}, metadata)


def test_any_tensor_comes_back_and_other_readers_agree(tmp_path):
    path = tmp_path / "t.safetensors"
    write(path, x="ü")
    assert read_metadata(path) == {"x": "ü"}
    others = load_file(path)
    for name, tensor in zip(TENSORS, read_tensors(path, list(TENSORS)), strict=True):
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
        assert torch.equal(tensor, others[name])


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, b="1", a="2")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_tensors_are_copied_from_file_to_file(tmp_path):
    write(tmp_path / "one")
    source = source_in(tmp_path / "one", "b")
    assert (source.dtype, source.shape, source.size) == (torch.float64, (3, 2), 48)
    write_tensors(tmp_path / "two", {"c": source}, {})
    assert torch.equal(read_tensors(tmp_path / "two", ["c"])[0], TENSORS["b"])


def test_a_source_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.safetensors"
    write(path)
    before = path.read_bytes()

    def fail():
        raise RunError("gone")

    with pytest.raises(RunError, match="gone"):
        write_tensors(path, {"x": TensorSource(torch.float64, (3,), fail)}, {})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["t.safetensors"]


@pytest.mark.parametrize("left", [0, 5, 60, -1])
def test_a_part_of_a_file_is_never_read(tmp_path, left):
    path = tmp_path / "t.safetensors"
    write(path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(RunError, match="not a whole safetensors file"):
        read_metadata(path)


def test_a_tensor_that_is_not_there_is_an_error(tmp_path):
    path = tmp_path / "t.safetensors"
    write(path)
    with pytest.raises(RunError, match="does not contain tensor"):
        read_tensors(path, ["z"])
