from __future__ import annotations

import numpy as np
import pytest

from nodelens.errors import RunError, UnknownNameError
from nodelens.scoring.scores import Score, Scores


@pytest.fixture
def scores() -> Scores:
    a = Score("rms", "conv1", np.array([1.0, 2.0]), True, "1", np.array([0.1, 0.2]))
    b = Score("l2", "conv1", np.array([3.0, 4.0]), False, "1")
    c = Score("kurtosis", "conv1", np.array([3.0, 4.0]), None, "1")
    return Scores(
        {(s.metric, s.group): s for s in (a, b, c)},
        skipped={("rms", "head"): "no module's input shows it"},
        failed={"broken": "conv1: ValueError: oh"},
        samples=12,
    )


def test_round_trip_through_one_file(scores, tmp_path):
    scores.save(tmp_path / "scores.safetensors")
    loaded = Scores.load(tmp_path / "scores.safetensors")
    assert loaded.to_dict() == scores.to_dict()
    assert loaded.skipped == scores.skipped
    assert loaded.failed == scores.failed
    assert loaded.samples == 12


def test_another_safetensors_file_is_refused(tmp_path):
    from nodelens.storage.tensors import write_arrays

    write_arrays(tmp_path / "x.safetensors", {"a": np.zeros(2)}, {})
    with pytest.raises(RunError, match="not a NodeLens scores file"):
        Scores.load(tmp_path / "x.safetensors")


def test_direction_is_part_of_the_data(scores):
    assert scores["rms", "conv1"].importance().tolist() == [1.0, 2.0]
    assert scores["l2", "conv1"].importance().tolist() == [-3.0, -4.0]
    with pytest.raises(UnknownNameError, match="without saying which to keep"):
        scores["kurtosis", "conv1"].importance()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("rns", "conv1"), "no scores of a metric 'rns'; did you mean 'rms'"),
        (("rms", "conv2"), "no group 'conv2'; did you mean 'conv1'"),
        (("rms", "head"), "metric 'rms' on 'head': no module's input shows it"),
    ],
)
def test_missing_scores_say_why(scores, key, message):
    with pytest.raises(UnknownNameError, match=message):
        scores[key]


def test_frame_has_one_row_per_metric_and_node(scores):
    pandas = pytest.importorskip("pandas")
    frame = scores.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 6
    assert frame[frame.metric == "rms"].se.tolist() == [0.1, 0.2]
    assert frame[frame.metric == "l2"].se.isna().all()
