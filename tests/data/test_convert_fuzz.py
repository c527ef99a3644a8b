"""Whatever a row says, it comes back from every format's files as it was, or is refused with a reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrl.data.convert import Conversion, Tally, convert_inputs
from mmrl.data.format import find_format
from mmrl.data.inputs import Input, open_inputs
from mmrl.data.outputs import write_output
from mmrl.data.row_format import parse_row
from mmrl.data.writing import row_to_json
from mmrl.errors import DataError

_TEXT = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20
) | st.sampled_from(["<image>", "a\r\nb", '"', ";", "=1+1", "A. x", "<answer>3</answer>", "\ufeff"])
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_PARTS = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, _TEXT)
    | st.sampled_from(["image", "video", "audio"]).map(
        lambda kind: {"type": kind, kind: f"x.{kind}"}
    ),
    min_size=1,
    max_size=4,
)
_WORD = _TEXT.filter(str.strip)
_ROWS = st.fixed_dictionaries(
    {
        "source": _WORD,
        "content": _PARTS,
        "answer": _TEXT | st.integers(0, 9) | st.lists(st.integers(0, 99), min_size=4, max_size=4),
        "verifier": st.sampled_from(["math", "exact", "box", "choice", "detection", "number"]),
        "response": st.none() | _WORD,
        "difficulty": st.none() | st.floats(0, 1),
        "extra": st.dictionaries(
            _TEXT | st.sampled_from(["options", "choices", "answer", "system", "problem_type"]),
            _VALUE,
            max_size=3,
        ),
        "system": st.none() | _WORD,
    }
)
FILES = {
    "easyr1": "x.parquet",
    "vtriune": "x.parquet",
    "video_r1": "x.json",
    "vlm_r1": "x.jsonl",
    "llava": "x.json",
    "sharegpt": "x.json",
    "ms_swift": "x.jsonl",
    "seed_bench_r1": "x.jsonl",
    "r1_aqa": "x.jsonl",
    "csv": "x.csv",
}


def raw_of(number, drawn):
    system = [{"role": "system", "content": drawn["system"]}] if drawn["system"] else []
    kept = {
        key: drawn[key]
        for key in ("source", "answer", "verifier", "response", "difficulty", "extra")
    }
    return {
        "id": f"r{number}",
        **kept,
        "prompt": [*system, {"role": "user", "content": drawn["content"]}],
    }


def joined(raw):
    """Neighbouring texts of a message are one."""
    for message in raw["prompt"]:
        parts = []
        for part in message["content"]:
            if part["type"] == "text" and parts and parts[-1]["type"] == "text":
                parts[-1]["text"] += part["text"]
            else:
                parts.append(dict(part))
        message["content"] = parts
    return raw


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(_ROWS, min_size=1, max_size=4))
def test_a_row_comes_back_as_it_was_or_is_refused(name, drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    for kind in ("image", "video", "audio"):
        (folder / f"x.{kind}").write_bytes(kind.encode())
    rows = {}
    for number, fields in enumerate(drawn):
        try:
            rows[f"r{number}"] = parse_row(raw_of(number, fields), where="", folder=folder)
        except DataError:
            continue
    wanted = {row_id: joined(row_to_json(row, folder)) for row_id, row in rows.items()}
    found = find_format(name)
    records = ((row.id, row_to_json(row, folder)) for row in rows.values())
    out, tally = folder / FILES[name], Tally()
    there = convert_inputs(
        Conversion(target=name, out=out),
        [Input(name="rows", folder=folder, records=iter(records))],
        tally,
    )
    count = write_output(there, out, found)
    assert count + sum(count for count, _ in tally.reasons.values()) == len(rows)
    if not count:
        return
    (given,) = open_inputs(str(out), found.suffixes)
    back_tally = Tally()
    back = list(
        convert_inputs(Conversion(source=name, out=folder / "y.jsonl"), [given], back_tally)
    )
    assert back_tally.reasons == {}
    assert len(back) == count
    for raw in back:
        again = joined(row_to_json(parse_row(raw, where="", folder=folder), folder))
        before = wanted[raw["id"]]
        if out.suffix == ".parquet":
            for one, other in ((again, before), (before, again)):
                del other
                for message in one["prompt"]:
                    for part in message["content"]:
                        if part["type"] != "text":
                            part[part["type"]] = part["type"]
        assert json.dumps(again, sort_keys=True) == json.dumps(before, sort_keys=True)
