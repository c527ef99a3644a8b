"""Runs go out in lmms-eval's shape and come back the same; other kits' files are scored here."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from mmrl.cli import run

FIXTURES = Path(__file__).parent / "fixtures"
VISTA = FIXTURES / "mathvista"


@pytest.fixture
def mmrl_eval(capsys):
    """Run `mmrl eval`; return code, lines of output, complaints."""

    def call(*arguments):
        capsys.readouterr()
        code = run(["eval", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return call


def _records():
    return json.loads((VISTA / "testmini.json").read_text())


def _texts():
    """A response for each item, of every sort."""
    texts = ["<answer>A</answer>", "1,000", "so (B)", "", "\\boxed{145}", "I cannot tell."]
    return {pid: texts[number % len(texts)] for number, pid in enumerate(_records())}


@pytest.fixture
def answered(tmp_path, mmrl_eval):
    """A run over the fixture's items with two samples; one sample has no response."""
    lines = [
        {"pid": pid, "response": text, "sample": sample, "stop": "length" if sample else "eos"}
        for pid, text in _texts().items()
        for sample in range(2)
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    replay = ["engine=replay", f"responses={answers}", "samples=2", "max_errors=1"]
    out = tmp_path / "run"
    assert mmrl_eval("tasks=mathvista", *replay, f"data={VISTA}", f"out={out}")[0] == 0
    return out


def _verdicts(lines):
    kept = ("extracted", "normalized", "correct", "how", "status")
    return [{key: line[key] for key in kept} for line in lines if "summary" not in line]


def test_a_run_that_was_exported_and_imported_has_the_same_verdicts(answered, mmrl_eval, tmp_path):
    code, out, _ = mmrl_eval("export", answered, "to=lmms_eval")
    assert code == 0
    samples, results = map(Path, out)
    assert samples.name.endswith("_samples_mathvista.jsonl")
    assert results.name.endswith("_results.json")
    code, lines, err = mmrl_eval("import", samples, "from=lmms_eval", "task=mathvista")
    assert code == 0
    assert "20 responses" in err
    back = tmp_path / "back.jsonl"
    back.write_text("\n".join(lines) + "\n")
    _, rescored, _ = mmrl_eval("score", "task=mathvista", back, "max_errors=1")
    scores = [json.loads(line) for line in (answered / "scores.jsonl").read_text().splitlines()]
    for mode in ("official", "strict"):
        told = [json.loads(line).get("modes", {}).get(mode) for line in rescored[:-1]]
        stored = [line["modes"][mode] for line in scores]
        assert _verdicts(told) == _verdicts(stored)
    summary = json.loads(rescored[-1])["summary"]
    own = json.loads((answered / "results.json").read_text())["results"]["mathvista"]
    for mode in ("official", "strict"):
        assert summary["modes"][mode]["value"] == own["modes"][mode]["value"]


def test_exported_lines_have_the_keys_of_lmms_evals_samples(answered, mmrl_eval):
    _, out, _ = mmrl_eval("export", answered, "to=lmms_eval")
    first, *_ = lines = [json.loads(line) for line in Path(out[0]).read_text().splitlines()]
    keys = {"doc_id", "doc", "target", "arguments", "input", "resps", "filtered_resps", "doc_hash"}
    assert keys <= set(first)
    assert [line["doc_id"] for line in lines] == list(range(10))
    assert first["target"] == "1.2"
    assert first["resps"] == [["<answer>A</answer>"] * 2]
    assert isinstance(first["accuracy_strict"], float)
    assert len({line["doc_hash"] for line in lines}) == 10
    results = json.loads(Path(out[1]).read_text())
    own = json.loads((answered / "results.json").read_text())["results"]["mathvista"]["modes"]
    told = results["results"]["mathvista"]
    assert told["accuracy_strict,none"] == own["strict"]["value"]
    assert told["accuracy_official_stderr,none"] > 0
    assert results["n-samples"]["mathvista"] == {"original": 10, "effective": 10}


def test_two_exports_are_the_same_bytes(answered, mmrl_eval, tmp_path):
    for name in ("one", "two"):
        mmrl_eval("export", answered, "to=lmms_eval", f"out={tmp_path / name}")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_samples_without_documents_are_joined_to_the_data_by_place(mmrl_eval, tmp_path):
    texts = _texts()
    file = tmp_path / "20260101_samples_mathvista_testmini.jsonl"
    lines = [
        {"doc_id": place, "target": "?", "filtered_resps": [text], "doc_hash": "0"}
        for place, text in enumerate(texts.values())
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[::-1]))
    code, out, _ = mmrl_eval(
        "import", file, "from=lmms_eval", "task=mathvista", f"data={VISTA / 'testmini.json'}"
    )
    assert code == 0
    found = {line["pid"]: line["response"] for line in map(json.loads, out)}
    assert found == texts
    code, _, err = mmrl_eval("import", file, "from=lmms_eval", "task=mathvista")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "data=PATH" in err


def test_raw_responses_go_before_filtered_ones(mmrl_eval, tmp_path):
    record = next(iter(_records().values()))
    line = {
        "doc_id": 0,
        "doc": record,
        "resps": [["<think>x</think> 1.2", "1.3"]],
        "filtered_resps": ["1.2"],
    }
    file = tmp_path / "s.jsonl"
    file.write_text(json.dumps(line) + "\n")
    _, out, _ = mmrl_eval("import", file, "from=lmms_eval", "task=mathvista")
    found = [json.loads(line) for line in out]
    assert [(line["response"], line["sample"]) for line in found] == [
        ("<think>x</think> 1.2", 0),
        ("1.3", 1),
    ]


def _vlmevalkit_rows():
    rows = []
    for pid, record in _records().items():
        letters = dict(zip("ABCDEFGH", record["choices"] or (), strict=False))
        rows.append(
            {
                "index": pid,
                "question": record["question"],
                **{letter: letters.get(letter, "") for letter in "ABCDEFGH"},
                "answer": record["answer"],
                "choices": str(record["choices"] or []),
                "question_type": record["question_type"],
                "answer_type": record["answer_type"],
                "precision": "" if record["precision"] is None else str(record["precision"]),
                "prediction": _texts()[pid],
            }
        )
    return rows


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("suffix", [".tsv", ".json"])
def test_vlmevalkits_predictions_are_scored_as_the_same_responses(
    suffix, with_data, mmrl_eval, tmp_path
):
    rows = _vlmevalkit_rows()
    file = tmp_path / f"model_MathVista_MINI{suffix}"
    if suffix == ".tsv":
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, rows[0], delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)
    else:
        file.write_text(json.dumps(rows))
    data = [f"data={VISTA / 'testmini.json'}"] if with_data else []
    code, out, err = mmrl_eval("import", file, "from=vlmevalkit", "task=mathvista", *data)
    assert code == 0, err
    back = tmp_path / "back.jsonl"
    back.write_text("\n".join(out) + "\n")
    _, theirs, _ = mmrl_eval("score", "task=mathvista", back)

    direct = tmp_path / "direct.jsonl"
    lines = [{**record, "response": _texts()[pid]} for pid, record in _records().items()]
    direct.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, ours, _ = mmrl_eval("score", "task=mathvista", direct)
    assert _verdicts(map(json.loads, theirs)) == _verdicts(map(json.loads, ours))


def test_a_prediction_that_the_kit_did_not_get_is_an_error_and_no_wrong_answer(mmrl_eval, tmp_path):
    rows = _vlmevalkit_rows()[:1]
    rows[0]["prediction"] = "Failed to obtain answer via API."
    file = tmp_path / "p.json"
    file.write_text(json.dumps(rows))
    _, out, _ = mmrl_eval("import", file, "from=vlmevalkit", "task=mathvista")
    back = tmp_path / "back.jsonl"
    back.write_text("\n".join(out) + "\n")
    _, scored, _ = mmrl_eval("score", "task=mathvista", back, "max_errors=1")
    assert json.loads(scored[0])["status"] == "error"


def test_a_spreadsheet_needs_openpyxl_and_says_so(mmrl_eval, tmp_path):
    file = tmp_path / "model_MathVista_MINI.xlsx"
    if importlib.util.find_spec("openpyxl"):
        import pandas

        pandas.DataFrame(_vlmevalkit_rows()).to_excel(file, index=False)
        code, out, _ = mmrl_eval("import", file, "from=vlmevalkit", "task=mathvista")
        assert (code, len(out)) == (0, 10)
        return
    file.write_bytes(b"PK")
    code, out, err = mmrl_eval("import", file, "from=vlmevalkit", "task=mathvista")
    assert (code, out, len(err.splitlines())) == (2, [], 1)
    assert "openpyxl" in err


def test_the_authors_files_come_with_their_extractions_or_without(mmrl_eval, tmp_path):
    stored = {
        pid: {**record, "response": f"It is {record['answer']}.", "extraction": "7"}
        for pid, record in _records().items()
    }
    for record in stored.values():
        record.pop("pid")
    file = tmp_path / "output_bard.json"
    file.write_text(json.dumps(stored))
    _, out, _ = mmrl_eval("import", file, "from=mathvista", "task=mathvista")
    lines = [json.loads(line) for line in out]
    assert [line["pid"] for line in lines] == list(stored)
    assert {line["extraction"] for line in lines} == {"7"}
    arguments = ("from=mathvista", "task=mathvista", "extraction=false")
    target = tmp_path / "read_anew.jsonl"
    assert mmrl_eval("import", file, *arguments, f"out={target}")[0] == 0
    assert all("extraction" not in json.loads(line) for line in target.read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "text", "kind", "said"),
    [
        ("a.jsonl", '{"doc_id": 0}\n', "lmms_eval", "resps"),
        ("a.tsv", "index\tanswer\n1\tx\n", "vlmevalkit", "prediction"),
        ("a.tsv", "index\tprediction\n1\tx\ty\n", "vlmevalkit", "more cells"),
        ("a.pkl", "x", "vlmevalkit", "files only"),
        ("a.json", "[", "mathvista", "not JSON"),
        ("a.jsonl", "", "lmms_eval", "no responses"),
        ("a.jsonl", "{}", "lmmseval", "lmms_eval"),
    ],
)
def test_what_cannot_be_read_is_one_line(name, text, kind, said, mmrl_eval, tmp_path):
    file = tmp_path / name
    file.write_text(text)
    code, out, err = mmrl_eval("import", file, f"from={kind}", "task=mathvista")
    assert (code, out) == (2, [])
    assert len(err.splitlines()) == 1
    assert said in err


def test_items_of_another_split_are_not_guessed(mmrl_eval, tmp_path):
    rows = _vlmevalkit_rows()[:1]
    rows[0]["index"] = "9999"
    file = tmp_path / "p.json"
    file.write_text(json.dumps(rows))
    arguments = ("from=vlmevalkit", "task=mathvista", f"data={VISTA / 'testmini.json'}")
    code, _, err = mmrl_eval("import", file, *arguments)
    assert code == 2
    assert "9999" in err
