from __future__ import annotations

import json
import tracemalloc

import pytest

from mmrl.data import records as records_module
from mmrl.data.records import read_json, read_jsonl, read_records
from mmrl.errors import ConfigError, DataError

GERMAN = "question,answer\nWie groß ist die Fläche?,3 m²\nUnd „hier“?,5 €\n"


def read(path, **options):
    return [record for _, record in read_records(path, **options)]


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8", name="d.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_tables_need_no_word_about_it(encoding, table):
    rows = read(table(GERMAN, encoding))
    assert rows[0] == {"question": "Wie groß ist die Fläche?", "answer": "3 m²"}
    assert rows[1] == {"question": "Und „hier“?", "answer": "5 €"}


def test_another_encoding_is_one_line_with_its_place(table):
    path = table(GERMAN, "cp1252")
    with pytest.raises(DataError, match=r"d.csv:2: not UTF-8 \(byte 0xdf\); .*encoding=") as error:
        read(path)
    assert "\n" not in str(error.value)
    assert read(path, encoding="cp1252")[1]["answer"] == "5 €"


@pytest.mark.parametrize("wrong", ["ascii", "utf-16", "cp1252", "latin-1", "shift_jis"])
def test_a_wrong_encoding_never_makes_other_letters(wrong, table):
    with pytest.raises(DataError, match=r"d.csv.*: (not|is UTF-8, not) ") as error:
        read(table(GERMAN), encoding=wrong)
    assert "\n" not in str(error.value)


def test_latin_1_is_not_taken_for_what_windows_wrote(table):
    with pytest.raises(DataError, match="it may be cp1252"):
        read(table(GERMAN, "cp1252"), encoding="latin-1")
    text = "question,answer\nFläche?,3\n"
    assert read(table(text, "latin-1"), encoding="latin-1")[0]["question"] == "Fläche?"


def test_a_table_goes_on_after_a_bad_line(table):
    rows = read(table('a,b\n1,2\n1,2,3\n"x,y",4\n\n"open,5\n'))
    assert rows[0] == {"a": "1", "b": "2"}
    assert "3 fields where the header has 2" in str(rows[1])
    assert rows[2] == {"a": "x,y", "b": "4"}
    assert "not a line of a table" in str(rows[3])
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "the column 'a' twice"),
        ("a,\n1,2\n", "a column without a name"),
        ("a;b\n1;2\n", "say delimiter=';'"),
        ("a\tb\n1\t2\n", r"say delimiter='\\t'"),
    ],
)
def test_a_header_that_cannot_be_used_is_one_line(text, said, table):
    with pytest.raises(DataError, match=said):
        read(table(text))


def test_the_delimiter_is_one_character(table):
    assert read(table("a;b\n1;2\n"), delimiter=";") == [{"a": "1", "b": "2"}]
    assert read(table("a\tb\n1\t2\n", name="d.tsv")) == [{"a": "1", "b": "2"}]
    with pytest.raises(ConfigError, match="delimiter: must be one character"):
        read(table("a;b\n1;2\n"), delimiter="::")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 20])
def test_a_list_is_read_the_same_in_blocks_of_any_size(block, tmp_path, monkeypatch):
    items = [{"a": 'ä[]{},"\\'}, [1, [2]], 12345, "x", None, True, {}, 3.5e-7, {"b": {"c": [1, 2]}}]
    path = tmp_path / "d.json"
    for indent in (None, 2):
        path.write_text(json.dumps(items, indent=indent, ensure_ascii=False), encoding="utf-8")
        monkeypatch.setattr(records_module, "_BLOCK", block)
        assert [item for _, item in read_json(path)] == items


@pytest.mark.parametrize(
    ("text", "good", "said"),
    [
        ("[1, 2", 2, "not JSON"),
        ("[1, 2, {]", 2, "not JSON"),
        ("[1,, 2]", 1, "two commas"),
        ("[1, 2] 3", 2, "text after the end of the list"),
        ("", 0, "not JSON"),
        ('[{"a": 1, "a": 2}]', 0, "the key 'a' stands twice"),
        ("[NaN]", 0, "NaN is no JSON number"),
        ("[" * 100_000, 0, "not JSON"),
    ],
)
def test_a_broken_list_says_where_it_ends(text, good, said, tmp_path):
    path = tmp_path / "d.json"
    path.write_text(text)
    found = [item for _, item in read_json(path)]
    assert len([item for item in found if not isinstance(item, DataError)]) <= good
    assert isinstance(found[-1], DataError)
    assert said in str(found[-1])
    assert "\n" not in str(found[-1])


def test_an_object_alone_is_one_record(tmp_path):
    (tmp_path / "d.json").write_text('{"a": [1, 2]}\n')
    assert read(tmp_path / "d.json") == [{"a": [1, 2]}]


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "LIMIT_RECORD_BYTES", 1 << 16)
    path = tmp_path / "d.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n')
        for _ in range(64):
            file.write(b"x" * (1 << 18))
        file.write(b'\n{"a": 2}\n')
    tracemalloc.start()
    found = [item for _, item in read_jsonl(path)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [found[0], found[2]] == [{"a": 1}, {"a": 2}]
    assert "a line of more than" in str(found[1])
    assert peak < 8 << 20
