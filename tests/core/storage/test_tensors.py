import subprocess
import sys

import numpy as np
import pytest
import torch

from nodelens.errors import RunError
from nodelens.storage.tensors import read_arrays, read_state, write_arrays, write_state


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
def test_arrays_come_back_with_shape_and_dtype(tmp_path, dtype):
    arrays = {
        "matrix": np.arange(6).reshape(2, 3).astype(dtype),
        "scalar": np.asarray(1).astype(dtype),
        "empty": np.zeros((0, 4), dtype),
    }
    write_arrays(tmp_path / "a.safetensors", arrays, {"format": "test"})
    found, metadata = read_arrays(tmp_path / "a.safetensors")
    assert metadata == {"format": "test"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_views_and_foreign_byte_orders_keep_their_values(tmp_path):
    matrix = np.arange(12.0).reshape(3, 4)
    arrays = {"turned": matrix.T, "strided": matrix[:, ::2], "big": matrix.astype(">f8")}
    write_arrays(tmp_path / "a", arrays, {})
    found, metadata = read_arrays(tmp_path / "a")
    assert metadata == {}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_equal_content_gives_equal_bytes_in_every_process(tmp_path):
    program = (
        "import sys, numpy as np; from pathlib import Path;"
        "from nodelens.storage.tensors import write_arrays;"
        "write_arrays(Path(sys.argv[1]), {'a': np.arange(3.0)}, {str(i): 'é' for i in range(9)})"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path / name)], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_states_come_back_also_with_tied_and_transposed_tensors(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    state = {"a": weight, "tied": weight, "turned": weight.T, "count": torch.tensor(3)}
    write_state(tmp_path / "s", state, {"epoch": "9"})
    found = read_state(tmp_path / "s")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("read", [read_arrays, read_state])
@pytest.mark.parametrize("keep", [0, 5, -3])
def test_damaged_files_are_refused(tmp_path, read, keep):
    path = tmp_path / "scores.safetensors"
    write_arrays(path, {"a": np.arange(3.0)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"scores\.safetensors: not a whole safetensors file"):
        read(path)


@pytest.mark.parametrize("read", [read_arrays, read_state])
def test_missing_files_are_named(tmp_path, read):
    with pytest.raises(RunError, match=r"cannot read .*missing: No such file or directory"):
        read(tmp_path / "missing")


def test_reading_arrays_needs_no_torch(tmp_path):
    write_arrays(tmp_path / "a", {"a": np.arange(3.0)}, {})
    program = (
        "import sys; from pathlib import Path; from nodelens.storage.tensors import read_arrays;"
        "read_arrays(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=True)


def test_nothing_at_all_can_be_written_and_read(tmp_path):
    write_state(tmp_path / "empty.safetensors", {}, {})
    assert read_state(tmp_path / "empty.safetensors") == {}
