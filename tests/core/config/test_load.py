"""Reading files and mappings, and what `extends` makes of several files."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import pytest

from nodelens.config.load import raw_from_mapping, read_config
from nodelens.errors import ConfigError


def problems(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        read_config(path, overrides)
    return list(caught.value.problems)


def test_a_file_is_read_with_its_marks(read):
    raw = read("name: a\nmodel: cnn\n")
    assert raw.value == {"name": "a", "model": "cnn"}
    assert raw.marks.of(("model",)) == "run.yaml:2"


def test_a_byte_order_mark_is_no_part_of_the_first_key(folder):
    Path("run.yaml").write_bytes(b"\xef\xbb\xbfseed: 1\r\nname: a\r\n")
    assert read_config(Path("run.yaml")).value == {"seed": 1, "name": "a"}


def test_a_missing_config_names_the_closest_file(write):
    write("seed: 0\n", "digits.yaml")
    message = "digit.yaml: there is no such config; did you mean 'digits.yaml'?"
    assert problems(Path("digit.yaml")) == [message]


def test_a_missing_folder_is_named(folder):
    message = "confgs/a.yaml: there is no such config; there is no folder confgs"
    assert problems(Path("confgs/a.yaml")) == [message]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "run.yaml: the file is empty; a config needs 'model:' and 'data:'"),
        (b"# nothing\n", "run.yaml: the file is empty; a config needs 'model:' and 'data:'"),
        (b"- a\n", "run.yaml:1: a config is a mapping of sections such as 'model: …'"),
        (b"name: \xff\n", "run.yaml: not UTF-8 text (byte 6); save it as UTF-8"),
    ],
)
def test_files_that_are_no_configs(folder, content, message):
    Path("run.yaml").write_bytes(content)
    assert problems(Path("run.yaml")) == [message]


def test_a_folder_is_no_config(folder):
    assert problems(folder) == [f"{folder}: cannot be read: Is a directory"]


def test_mappings_merge_and_lists_replace(write):
    write("training: {epochs: 5, schedule: cosine}\nmetrics: [a, b]\nseed: 3\n", "base.yaml")
    path = write("extends: base.yaml\ntraining: {epochs: 9}\nmetrics: [c]\n")
    assert read_config(path).value == {
        "training": {"epochs": 9, "schedule": "cosine"},
        "metrics": ["c"],
        "seed": 3,
    }


def test_marks_follow_the_file_that_a_value_came_from(write):
    write("seed: 3\ntraining:\n  epochs: 5\n  schedule: cosine\nmetrics: [a, b]\n", "base.yaml")
    path = write("extends: base.yaml\n\ntraining:\n  epochs: 9\nmetrics: [c]\n")
    marks = read_config(path).marks
    assert marks.of(("seed",)) == "base.yaml:1"
    assert marks.of(("training", "schedule")) == "base.yaml:4"
    assert marks.of(("training", "epochs")) == "run.yaml:4"
    assert marks.of(("metrics", 0)) == "run.yaml:5"
    assert ("metrics", 1) not in marks.places


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ("{name: cnn, channels: [8]}", "{name: mlp}", {"name": "mlp"}),
        ("{name: cnn, channels: [8]}", "mlp", "mlp"),
        ("{name: cnn, channels: [8]}", "{depth: 2}", {"name": "cnn", "channels": [8], "depth": 2}),
        (
            "{name: cnn, channels: [8]}",
            "{name: cnn, depth: 2}",
            {"name": "cnn", "channels": [8], "depth": 2},
        ),
        ("cnn", "{depth: 2}", {"name": "cnn", "depth": 2}),
        ("cnn", "{name: mlp, depth: 2}", {"name": "mlp", "depth": 2}),
    ],
)
def test_a_component_whose_name_changes_is_replaced(write, base, over, merged):
    write(f"model: {base}\n", "base.yaml")
    assert read_config(write(f"extends: base.yaml\nmodel: {over}\n")).value == {"model": merged}


def test_the_name_of_the_run_replaces_nothing(write):
    write("name: base\nseed: 4\n", "base.yaml")
    assert read_config(write("extends: base.yaml\nname: run\n")).value == {"name": "run", "seed": 4}


def test_null_takes_a_section_away(write):
    write("training: {epochs: 5}\n", "base.yaml")
    assert read_config(write("extends: base.yaml\ntraining: null\n")).value == {"training": None}


def test_several_bases_apply_in_order(write):
    write("seed: 1\nname: a\n", "a.yaml")
    write("seed: 2\n", "b.yaml")
    assert read_config(write("extends: [a.yaml, b.yaml]\n")).value == {"seed": 2, "name": "a"}


def test_paths_are_relative_to_the_file_that_names_them(write):
    write("seed: 1\n", "shared/base.yaml")
    write("extends: ../shared/base.yaml\nname: a\n", "studies/mid.yaml")
    assert read_config(write("extends: studies/mid.yaml\n")).value == {"seed": 1, "name": "a"}


def test_two_ways_to_one_base_are_no_circle(write):
    write("seed: 1\n", "base.yaml")
    write("extends: base.yaml\nname: a\n", "a.yaml")
    write("extends: base.yaml\ndevice: cpu\n", "b.yaml")
    value = read_config(write("extends: [a.yaml, b.yaml]\n")).value
    assert value == {"seed": 1, "name": "a", "device": "cpu"}


def test_a_circle_is_shown(write):
    write("extends: b.yaml\n", "a.yaml")
    write("seed: 0\nextends: [c.yaml]\n", "b.yaml")
    write("extends: a.yaml\n", "c.yaml")
    message = (
        "c.yaml:1: extends: goes round in a circle: "
        "a.yaml -> b.yaml -> c.yaml -> a.yaml; take one out"
    )
    assert problems(Path("a.yaml")) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seed: 0\nextends: bse.yaml\n",
            "run.yaml:2: extends: there is no file bse.yaml; did you mean 'base.yaml'?",
        ),
        (
            "extends:\n- base.yaml\n- old/base.yaml\n",
            "run.yaml:3: extends: there is no file old/base.yaml; there is no folder old",
        ),
        ("extends: 3\n", "run.yaml:1: extends: expected a path or a list of paths"),
        ("extends:\n- [a]\n", "run.yaml:2: extends: expected a path or a list of paths"),
    ],
)
def test_bad_extends(write, text, message):
    write("seed: 1\n", "base.yaml")
    assert problems(write(text)) == [message]


def test_a_mistake_in_a_base_names_the_base(write):
    write("seed: 'x\n", "base.yaml")
    path = write("extends: base.yaml\n")
    assert problems(path) == ["base.yaml:1: the quote that opens here is never closed"]


def test_a_mapping_becomes_plain_values():
    raw = raw_from_mapping(
        {"model": OrderedDict(name="cnn", channels=(8, 16)), "output": Path("out")}, ["seed=3"]
    )
    assert raw.value == {"model": {"name": "cnn", "channels": [8, 16]}, "output": "out", "seed": 3}
    assert raw.marks.of(("model",)) == "config"


def test_a_mapping_may_extend_a_file(write):
    write("seed: 3\n", "base.yaml")
    assert raw_from_mapping({"extends": "base.yaml", "name": "a"}).value == {"seed": 3, "name": "a"}


def test_a_mapping_of_objects_is_refused():
    with pytest.raises(
        ConfigError, match=r"^config: a config cannot hold a value of the type slice"
    ):
        raw_from_mapping({"seed": slice(3)})


def test_a_file_that_is_too_long_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: mlp\n" + "#" * (1 << 20))
    with pytest.raises(ConfigError, match=r"x\.yaml:1: more than 1,048,576 characters; divide"):
        read_config(path)


def test_a_value_that_holds_itself_is_refused():
    value = {"model": "mlp"}
    value["data"] = value
    with pytest.raises(ConfigError, match="config: a value holds itself, or is nested too deeply"):
        raw_from_mapping(value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert problems(pipe) == [f"{pipe}: not a regular file (a pipe or a device)"]
