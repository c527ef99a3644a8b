"""Chains over rows, with a server that answers by rule."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from mmrl.coldstart.config import VerifyStep
from mmrl.coldstart.edits import keep_right
from mmrl.coldstart.state import LeftOut, begin
from mmrl.errors import RewardError, RunError
from mmrl.media.writers import write_png, write_wav
from mmrl.types import Verdict

ASK = {"kind": "ask", "teacher": "t", "prompt": "{question}"}


def add(text: str, asked: dict) -> str:
    """Answer a sum rightly."""
    n = int(re.findall(r"(\d+) \+ 1", text)[-1])
    return f"<think>{n} and one more.</think><answer>{n + 1}</answer>"


def guess(text: str, asked: dict) -> str:
    """Answer by the seed: right for even ones, longer for larger ones."""
    n = int(re.findall(r"(\d+) \+ 1", text)[-1])
    wrong = asked["seed"] % 2
    words = "so " * (asked["seed"] + 1)
    return f"<think>{words}</think><answer>{n + 1 + wrong}</answer>"


def reasons(result) -> list[str]:
    return [one.reason for one in result.rejected]


def test_rows_come_out_in_order_with_what_the_teacher_said(run, serve, sums):
    server = serve(add)
    rows = sums(30)
    result = run({"response": ASK}, rows, server)
    assert [state.row.id for state in result.done] == [row.id for row in rows]
    assert result.done[7].text("response") == "<think>7 and one more.</think><answer>8</answer>"
    assert server.most_running > 1
    count = result.counts["t"]
    assert (count.replies, count.asked, count.prompt_tokens) == (30, 30, 300)
    assert count.completion_tokens == 30 * 4


def test_the_second_run_asks_nothing(run, serve, sums):
    server = serve(add)
    first = run({"response": ASK}, sums(5), server, teacher={"price": {"input": 2, "output": 1e5}})
    again = run({"response": ASK}, sums(5), server, teacher={"price": {"input": 2, "output": 1e5}})
    assert server.count == 5
    assert [s.texts for s in again.done] == [s.texts for s in first.done]
    paid = 5 * (10 * 2 + 4 * 1e5) / 1e6
    assert first.counts["t"].spent == first.counts["t"].cost == pytest.approx(paid)
    assert (again.counts["t"].asked, again.counts["t"].spent) == (0, 0)
    assert again.counts["t"].cost == pytest.approx(paid)


def test_a_server_that_moves_keeps_its_replies(run, serve, sums):
    run({"response": ASK}, sums(3), serve(add))
    other = serve(add)
    assert len(run({"response": ASK}, sums(3), other).done) == 3
    assert other.count == 0


def test_verify_keeps_the_shortest_right_of_several(run, serve, sums):
    steps = {
        "reason": {**ASK, "samples": 4, "temperature": 1},
        "verify": {"of": "reason", "keep": "longest", "wrong_into": "wrong"},
        "response": {"kind": "compose", "text": "{wrong.thought} | {reason}"},
    }
    result = run(steps, sums(2), serve(guess), teacher={"seed": 0})
    state = result.done[1]
    assert state.text("response") == "so so | <think>so so so </think><answer>2</answer>"
    assert state.text("pass_rate") == "0.5"


def test_what_no_verifier_finds_right_is_left_out_with_the_reason(run, serve, sums):
    def lie(text: str, asked: dict) -> str:
        return "<answer>0</answer>" if "2 + 1" in text else add(text, asked)

    result = run({"response": ASK, "verify": {"of": "response"}}, sums(4), serve(lie))
    assert [state.row.id for state in result.done] == ["r0", "r1", "r3"]
    (lost,) = result.rejected
    assert (lost.state.row.id, lost.step, lost.answered) == ("r2", "verify", True)
    assert "none of 1 candidates is right" in lost.reason


def test_rows_that_are_always_right_have_no_wrong_way_to_reflect_on(run, serve, sums):
    steps = {"response": ASK, "verify": {"of": "response", "wrong_into": "wrong"}}
    assert "a wrong one is wanted" in reasons(run(steps, sums(1), serve(add)))[0]


def test_what_could_not_be_judged_is_not_taken_for_wrong():
    state = begin_with(response=("a", "b"))
    step = VerifyStep(kind="verify", of="response")
    broken = Verdict(score=None, status="error", detail="exact: boom")
    assert keep_right(step, state, [broken, Verdict(score=1.0)]).text("pass_rate") == "1.0"
    with pytest.raises(LeftOut, match="could be judged: exact: boom"):
        keep_right(step, state, [broken, broken])


def begin_with(**texts):
    from mmrl.types import Row

    row = Row(id="r", source="s", prompt=[], answer="1", verifier=())
    return begin(row).with_texts(**texts)


def test_an_unknown_verifier_is_an_error_before_anyone_is_asked(run, serve, sums):
    server = serve(add)
    with pytest.raises(RewardError, match="there is no verifier 'exacte'"):
        run(
            {"response": ASK, "verify": {"of": "response"}},
            sums(1, verifier="exacte"),
            server,
        )
    assert server.count == 0


@pytest.mark.parametrize(("words", "kept"), [(100, True), (115, True), (116, False), (84, False)])
def test_a_rewrite_may_change_fifteen_words(run, serve, sums, words, kept):
    texts = {"reason": "w " * 100, "rewrite": "w " * words}
    steps = {name: {"kind": "compose", "into": name, "text": text} for name, text in texts.items()}
    steps["little"] = {"kind": "filter", "of": "rewrite", "like": "reason"}
    steps["response"] = {"kind": "compose", "text": "{rewrite}"}
    assert bool(run(steps, sums(1)).done) == kept


def test_grades_reject_and_conditions_choose(run, serve, sums):
    def teach(text: str, asked: dict) -> str:
        if text.startswith("grade"):
            return {"0": "A", "1": "B", "2": "C"}.get(text[-1], "hm")
        return f"mended {text}"

    steps = {
        "response": {"kind": "compose", "text": "chain of {question}"},
        "tier": {
            "kind": "grade",
            "teacher": "t",
            "prompt": "grade {question.thought}",
            "choices": ["A", "B", "C"],
            "reject": ["C"],
        },
        "mend": {**ASK, "when": {"tier": ["B"]}, "into": "response", "prompt": "{response}"},
        "repeat": {"by": "tier", "times": {"A": 3}},
    }
    rows = [with_question(row, str(n)) for n, row in enumerate(sums(4))]
    result = run(steps, rows, serve(teach))
    assert [state.text("response") for state in result.done] == [
        "chain of 0",
        "mended chain of 1",
    ]
    assert [state.copies for state in result.done] == [3, 1]
    assert reasons(result) == ["the teacher says C", "the teacher says none of A, B, C: 'hm'"]


def with_question(row, text):
    import dataclasses

    prompt = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    return dataclasses.replace(row, prompt=prompt)


def test_equal_rows_are_kept_once(run, sums):
    rows = sums(3)
    twice = [*rows, *[with_question(row, f" what is {n} +  1?") for n, row in enumerate(sums(2))]]
    steps = {"response": {"kind": "compose", "text": "x"}, "deduplicate": {}}
    result = run(steps, twice)
    assert len(result.done) == 3
    assert reasons(result) == [
        "the same as row r0, by question, media",
        "the same as row r1, by question, media",
    ]


def test_a_turn_sends_a_row_to_the_other_file(run, serve, sums):
    def teach(text: str, asked: dict) -> str:
        return "Wait, 2" if "1 + 1" in text else "it awaits"

    steps = {"response": ASK, "split_by_difficulty": {"of": "response"}}
    result = run(steps, sums(3), serve(teach))
    assert [state.split for state in result.done] == ["", "rl", ""]
    assert [state.difficulty for state in result.done] == [0, 1, 0]


def test_thoughts_are_dropped_by_row_and_seed(run, sums):
    text = "<think>long</think><answer>{answer}</answer>"
    steps = {"response": {"kind": "compose", "text": text}, "thought_dropout": {"p": 0.5}}
    found = [
        [state.text("response").startswith("<think>\n\n</think><answer>") for state in done]
        for done in (run(steps, sums(40), seed=seed).done for seed in (0, 0, 1))
    ]
    assert found[0] == found[1] != found[2]
    assert 8 < sum(found[0]) < 32


def test_media_are_shown_where_the_step_says_so(run, serve, sums, tmp_path):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), dtype=np.uint8))
    write_wav(tmp_path / "a.wav", np.zeros(800))
    parts = [
        {"type": "image", "image": str(tmp_path / "a.png")},
        {"type": "audio", "audio": str(tmp_path / "a.wav")},
        {"type": "text", "text": "What is 1 + 1?"},
    ]
    rows = sums(1, prompt=[{"role": "user", "content": parts}])
    server = serve()
    steps = {
        "caption": {"teacher": "t"},
        "reason": {"teacher": "t", "prompt": "{caption}", "system": "Think."},
        "response": {"kind": "compose", "text": "{reason}"},
    }
    assert run(steps, rows, server).done
    seen, heard = server.asked[0]["messages"][0]["content"][:2]
    url = seen["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == (
        (tmp_path / "a.png").read_bytes()
    )
    assert heard["input_audio"]["format"] == "wav"
    assert server.asked[1]["messages"][0] == {"role": "system", "content": "Think."}
    assert isinstance(server.asked[1]["messages"][1]["content"], str)


def test_a_broken_medium_leaves_its_row_out(run, serve, sums, tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    part = {"type": "image", "image": str(tmp_path / "a.png")}
    rows = sums(1, prompt=[{"role": "user", "content": [part]}])
    result = run({"response": {**ASK, "media": True, "prompt": "x"}}, rows, serve())
    assert "a.png" in reasons(result)[0]
    assert result.rejected[0].answered


def test_reasoning_that_comes_beside_the_text_becomes_its_thought(run, serve, sums):
    message = {"content": "<answer>1</answer>", "reasoning_content": "long thought"}
    server = serve(lambda text, asked: {"choices": [{"message": message}]})
    result = run({"response": ASK}, sums(1), server)
    assert result.done[0].text("response") == "<think>long thought</think>\n<answer>1</answer>"
    assert result.counts["t"].uncounted == 1


def test_a_reply_that_was_cut_is_no_chain(run, serve, sums):
    choice = {"message": {"content": "<think>and so on and"}, "finish_reason": "length"}
    server = serve(lambda text, asked: {"choices": [choice]})
    assert "cut at max_tokens" in reasons(run({"response": ASK}, sums(1), server))[0]
    allowed = {"response": {**ASK, "allow_cut": True}}
    assert run(allowed, sums(1), server).done
    assert server.count == 1


def test_a_refused_request_leaves_one_row_out_and_the_others_go_on(run, serve, sums):
    server = serve(add, lambda number: "refuses" if number == 2 else "")
    result = run({"response": ASK}, sums(6), server, concurrency=1)
    assert [one.state.row.id for one in result.rejected] == ["r2"]
    assert "400" in reasons(result)[0]
    assert not result.rejected[0].answered
    assert server.count == 6


def test_a_refused_key_stops_the_run_at_once(run, serve, sums, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sesame-open")
    server = serve(add, lambda number: "forbids")
    with pytest.raises(RunError, match=r"teachers\.t refuses the key") as caught:
        run({"response": ASK}, sums(50), server, teacher={"key_env": "MY_KEY"}, concurrency=2)
    assert server.count <= 4
    assert server.keys[0] == "Bearer sesame-open"
    assert "sesame" not in str(caught.value)


def test_a_server_that_is_gone_stops_the_run(run, serve, sums):
    server = serve(add, lambda number: "broken")
    with pytest.raises(RunError, match=r"5 requests in a row \(stop_after\) got no answer"):
        run(
            {"response": ASK},
            sums(50),
            server,
            teacher={"attempts": 1},
            stop_after=5,
            concurrency=2,
        )
    assert server.count <= 8


def test_questions_that_never_get_an_answer_do_not_stop_the_others(run, serve, sums):
    server = serve(add)
    server.trouble = lambda number: (
        "broken" if server.asked[number]["messages"][0]["content"] in doomed else ""
    )
    doomed = {f"What is {n} + 1?" for n in range(0, 60, 2)}
    result = run(
        {"response": ASK},
        sums(60),
        server,
        teacher={"attempts": 3, "first_wait_s": 0.1},
        stop_after=5,
        concurrency=32,
    )
    assert [one.state.row.id for one in result.rejected] == [f"r{n}" for n in range(0, 60, 2)]
    assert all("500" in reason and "after 3 attempts" in reason for reason in reasons(result))
    assert len(result.done) == 30


def test_a_budget_ends_the_run_and_keeps_what_was_paid_for(run, serve, sums):
    server = serve(add)
    price = {"price": {"input": 100_000, "output": 0}}
    with pytest.raises(RunError, match=r"max_cost: 3\.00 is spent"):
        run({"response": ASK}, sums(9), server, teacher=price, max_cost=2.5, concurrency=1)
    assert server.count == 3
    assert len(run({"response": ASK}, sums(9), server, teacher=price).done) == 9
    assert server.count == 9


def test_a_local_model_may_teach(run, sums):
    local = {"family": "qwen2_5_omni", "tiny": "qwen2_5_omni", "device": "cpu", "threads": 1}
    steps = {
        "response": {
            **ASK,
            "samples": 2,
            "temperature": 1,
            "max_tokens": 6,
            "allow_cut": True,
        },
        "take": {"of": "response"},
    }
    teacher = {"local": local}
    first = run(steps, sums(2), teacher=teacher)
    assert first.counts["t"].asked == 4
    assert first.counts["t"].completion_tokens > 0
    again = run(steps, sums(2), teacher=teacher)
    assert again.counts["t"].asked == 0
    assert [s.texts for s in again.done] == [s.texts for s in first.done]


def test_given_responses_are_asked_for(run, sums):
    steps = {"thought_dropout": {"p": 1}}
    with_response = sums(1, response="<think>a</think>b")
    assert run(steps, with_response, given=["response"]).done[0].text("response") == (
        "<think>\n\n</think>b"
    )
    assert "has no response" in reasons(run(steps, sums(1), given=["response"]))[0]
