"""YAML 1.2 scalars, marks, duplicates, tags and syntax errors."""

from __future__ import annotations

import math

import pytest

from nodelens.config.yaml12 import MAX_VALUES, parse, plain_scalar
from nodelens.errors import ConfigError


def parsed(text):
    return parse(text, lambda line: f"a.yaml:{line}")


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return list(caught.value.problems)


SCALARS = [
    ("1e-4", 1e-4),
    ("1E3", 1000.0),
    ("-.5", -0.5),
    ("1.", 1.0),
    ("+12", 12),
    ("012", 12),
    ("0o14", 12),
    ("0x1F", 31),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("~", None),
    ("null", None),
    ("Null", None),
    ("", None),
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("false", False),
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("Off", "Off"),
    ("y", "y"),
    ("tRUE", "tRUE"),
    ("1_000", "1_000"),
    ("1:30", "1:30"),
    ("0b11", "0b11"),
    ("2024-01-31", "2024-01-31"),
    ("2024-01-31 10:00:00", "2024-01-31 10:00:00"),
    ("=", "="),
    (".", "."),
    ("e4", "e4"),
    ("-", [None]),
    ("'5'", "5"),
    ('"true"', "true"),
    ("!!str 5", "5"),
    ("!!float 5", 5.0),
    ("!!int '7'", 7),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = parsed(f"- {text}\n")[0][0]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_read():
    assert math.isnan(parsed("[.nan]")[0][0])


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("0o14", 12), ("5.0", 5.0), ("no", "no"), ("", None)]
)
def test_a_plain_scalar_is_what_yaml_makes_of_it(text, value):
    assert plain_scalar(text) == value


def test_keys_stay_text():
    assert parsed("on: 1\nno: 2\n2024-01-31: 3\n")[0] == {"on": 1, "no": 2, "2024-01-31": 3}


def test_every_key_and_item_has_its_line():
    _, marks = parsed("pruning:\n- name: taylor\n  sparsity: 0.5\n-\n  name: x\nseed: 0\n")
    assert marks.of(("pruning",)) == "a.yaml:1"
    assert marks.of(("pruning", 0, "name")) == "a.yaml:2"
    assert marks.of(("pruning", 0, "sparsity")) == "a.yaml:3"
    assert marks.of(("pruning", 1, "name")) == "a.yaml:5"
    assert marks.of(("seed",)) == "a.yaml:6"


def test_a_path_that_is_not_there_has_the_place_of_what_is_around_it():
    _, marks = parsed("\nmodel:\n  name: cnn\n")
    assert marks.of(("model", "channels", 0)) == "a.yaml:2"
    assert marks.of(("nothing",)) == "a.yaml:2"


def test_flow_collections_keep_their_marks():
    _, marks = parsed("metrics: [rms,\n  {name: x,\n   top: 1}]\n")
    assert marks.of(("metrics", 1)) == "a.yaml:2"
    assert marks.of(("metrics", 1, "top")) == "a.yaml:3"


def test_an_empty_document_is_nothing():
    assert parsed("# only a comment\n")[0] is None


def test_aliases_repeat_their_value():
    assert parsed("a: &x [1, 2]\nb: *x\n")[0] == {"a": [1, 2], "b": [1, 2]}


def test_duplicates_name_both_lines_and_are_all_reported():
    text = "seed: 0\nmodel:\n  name: a\n  name: b\nseed: 1\n"
    assert problems(text) == [
        "a.yaml:4: model.name: given twice, first in line 3; keep one",
        "a.yaml:5: seed: given twice, first in line 1; keep one",
    ]


STRUCTURE = [
    ("1: a\n", "a.yaml:1: the key 1 is not text; put it in quotes"),
    ("m:\n  ?\n  : a\n", "a.yaml:2: m: the key (empty) is not text; put it in quotes"),
    ("? [a]\n: b\n", "a.yaml:1: a key must be text, not a list or a mapping"),
    (
        "a: &x {p: 1}\nb:\n  <<: *x\n",
        "a.yaml:3: b: '<<' is not part of YAML 1.2; use 'extends' to share values",
    ),
    (
        "a: !!python/object/apply:os.system [ls]\n",
        "a.yaml:1: a: the tag !!python/object/apply:os.system is not allowed; write a plain value",
    ),
    (
        "a: !mine 3\n",
        "a.yaml:1: a: the tag !mine is not allowed; write a plain value; text that starts with '!' "
        "needs quotes: write '!mine'",
    ),
    (
        "a: !!timestamp 2024-01-31\n",
        "a.yaml:1: a: the tag !!timestamp is not allowed; write a plain value",
    ),
    ("a: !!set {x}\n", "a.yaml:1: a: the tag !!set is not allowed; write a plain value"),
    ("a: !!int five\n", "a.yaml:1: a: 'five' cannot be read as int"),
    ("a: !!bool maybe\n", "a.yaml:1: a: 'maybe' cannot be read as bool"),
    ("a: &x [1, *x]\n", "a.yaml:1: a.1: an alias inside its own anchor has no end"),
]


@pytest.mark.parametrize(("text", "message"), STRUCTURE)
def test_values_that_a_config_cannot_hold(text, message):
    assert problems(text) == [message]


SYNTAX = [
    ("a:\n\tb: 1\n", "a.yaml:2: a tab where YAML wants spaces; indent with spaces"),
    ("a: 1\nb: 'x\nc: 2\n", "a.yaml:2: the quote that opens here is never closed"),
    ('a: "x\n', "a.yaml:1: the quote that opens here is never closed"),
    ("a: 1\nseed 0\nb: 2\n", "a.yaml:2: 'seed 0' has no ':'; write 'key: value'"),
    (
        "name x\nseed: 0\n",
        "a.yaml:2: the line above, 'name x', has no ':'; write 'key: value'",
    ),
    ("seed: 0\nname:x\nb: 1\n", "a.yaml:2: 'name:x' needs a space after its ':'"),
    ("name:x\nb: 1\n", "a.yaml:2: the line above, 'name:x', needs a space after its ':'"),
    (
        "a: 1\n  b: 2\n",
        "a.yaml:2: indented deeper than the line above, which already has a value; "
        "line the keys up",
    ),
    (
        "a:\n  b: 1\n c: 2\n",
        "a.yaml:3: this line does not line up with the lines above; check its indentation",
    ),
    (
        "a: b: c\n",
        "a.yaml:1: a second ':' in one line; put the text that holds a ':' in quotes",
    ),
    (
        "a: [1, 2\nb: 3\n",
        "a.yaml:1: the list that '[' opens here has no ']', or an item lacks its ','",
    ),
    (
        "a: {b: 1\nc: 2\n",
        "a.yaml:1: the mapping that '{' opens here has no '}', or an entry lacks its ','",
    ),
    ("a: [1]]\n", "a.yaml:1: a ']' that no '[' opens"),
    ("a: {b: 1}}\n", "a.yaml:1: a '}' that no '{' opens"),
    ("a: 1\n- b\n", "a.yaml:2: a list item ('- …') where a key ('key: value') was expected"),
    (
        "a: *x\n",
        "a.yaml:1: '*x' refers to no anchor '&x'; text that starts with '*' needs quotes: "
        "write '*x'",
    ),
    ("a: @x\n", "a.yaml:1: text that starts with '@' needs quotes"),
    ("a: 1\nb: `x`\n", "a.yaml:2: text that starts with '`' needs quotes"),
    ("%x: 1\n", "a.yaml:1: text that starts with '%' needs quotes"),
    ('a: "\\q"\n', "a.yaml:1: an unknown escape after '\\' in double quotes; use single quotes"),
    (
        "a: 1\n---\nb: 2\n",
        "a.yaml:2: a second document begins with '---'; a config is one document",
    ),
    ("a: 1\nb: \x01\n", "a.yaml:2: the character U+0001 is not allowed in YAML"),
]


@pytest.mark.parametrize(("text", "message"), SYNTAX)
def test_syntax_errors_say_what_to_mend(text, message):
    assert problems(text) == [message]


def test_deep_nesting_is_an_error_and_not_a_crash():
    assert problems("[" * 5000) == ["a.yaml:1: the values are nested too deeply to be read"]


def test_nesting_that_can_still_be_parsed_is_an_error_too():
    assert problems("\n" + "[" * 60 + "]" * 60) == ["a.yaml:2: nested more than 50 levels deep"]


def test_aliases_cannot_fill_the_memory():
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    message = f"a.yaml:1: more than {MAX_VALUES:,} values; use fewer aliases"
    assert problems("l0: &l0 [1]\n" + levels) == [message]
