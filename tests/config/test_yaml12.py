from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrl.config.yaml12 import flow, parse, parse_file
from mmrl.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("-1E+3", -1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("+7", 7),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-6'", "1e-6"),
        ("[1e-6, yes, {0.5: no}]", [1e-6, "yes", {0.5: "no"}]),
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    found = parse(text, "x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3", "x.yaml:5: key 'c' is given twice (first on line 3)"),
        ("{a: 1, a: 2}", "x.yaml:1: key 'a' is given twice (first on line 1)"),
        ("a:\n\tb: 1", "x.yaml:2: a tab stands where YAML wants spaces"),
        ("a: [1, 2", "x.yaml:1: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "x.yaml:1: not YAML: mapping values are not allowed here"),
        ("? [a]\n: 1", "x.yaml:1: a key is plain text or a number"),
        ("[" * 5000, "x.yaml: not YAML: nested too deeply"),
    ],
)
def test_a_slip_is_one_line_with_file_and_line(text, message):
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [ls]", "!x 1", "\x00", "&a [*a"])
def test_tags_and_rubbish_are_refused_in_one_line(text):
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yaml")
    assert str(caught.value).startswith("x.yaml:")
    assert "\n" not in str(caught.value)


_SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"]) | st.sampled_from("\t\n")),
    st.sampled_from(["1e-6", "yes", "0o7", "~", "", "a: b", "a # b", "- a", "${a.b}", "1."]),
)


@given(
    st.recursive(
        _SCALAR,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("ab1.: #-e", max_size=4) | st.floats(0, 1), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_what_is_written_on_one_line_reads_back_as_the_same_value(value):
    text = flow(value)
    assert "\n" not in text
    assert parse(f"key: {text}  # a comment", "x") == {"key": value}


def test_a_file_that_is_no_mapping_or_no_text_is_refused(tmp_path: Path):
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert parse_file(tmp_path / "empty.yaml", "empty") == {}
    for name, message in [
        ("list.yaml", "list.yaml: must hold 'key: value' lines, holds list"),
        ("bytes.yaml", "bytes.yaml: cannot be read: not UTF-8 text"),
        ("none.yaml", "none.yaml: cannot be read: No such file or directory"),
    ]:
        with pytest.raises(ConfigError) as caught:
            parse_file(tmp_path / name, name)
        assert str(caught.value) == message
