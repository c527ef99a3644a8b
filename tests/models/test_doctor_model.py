"""`mmrl doctor model=NAME`: what commonly breaks a checkpoint is one line that says what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmrl.checkup.fits import as_table, fits_of
from mmrl.checkup.model import look_over
from mmrl.checkup.subject import read_subject
from mmrl.cli import run
from mmrl.config.files import options
from mmrl.errors import ConfigError
from mmrl.families import FAMILIES
from mmrl.project import default_project

ROOT = default_project()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """A checkpoint of every family, each of small files of weights with an index."""
    from mmrl.tiny.models import build_tiny

    folder = tmp_path_factory.mktemp("checkpoints")
    for name in FAMILIES:
        model, processor = build_tiny(name, seed=0)
        model.save_pretrained(folder / name, max_shard_size="2MB")
        processor.save_pretrained(folder / name)
    return folder


@pytest.fixture
def folder(checkpoints, tmp_path) -> Path:
    """A checkpoint to be broken."""
    return Path(shutil.copytree(checkpoints / "qwen2_5_vl", tmp_path / "model"))


def look(*arguments: str):
    found, _ = look_over(read_subject(arguments, ROOT))
    return found


def wrong(*arguments: str) -> list[str]:
    broken = [one for one in look(*arguments) if one.required and not one.ok]
    assert all(one.fix for one in broken)
    lines = [f"{one.name}: {one.detail}; {one.fix}" for one in broken]
    assert not any("\n" in line for line in lines)
    return lines


def rewrite(path: Path, change) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_checkpoint_is_found_to_be_whole(checkpoints, family):
    found = look(f"model={checkpoints / family}")
    assert all(one.ok for one in found if one.required)
    by = {(one.about, one.name): one.detail for one in found}
    assert re.match(r"[2-9] safetensors, whole, [2-9]\.\d MB", by["weights", "files"])
    assert by["model", "context"] == "4,096 tokens"
    assert by["engine", "vllm"].startswith("no" if FAMILIES[family].processing else "yes")
    media = [name for about, name in by if about == "media"]
    assert set(media) == FAMILIES[family].media
    tokens = {f"{kind} token" for kind in FAMILIES[family].media}
    assert tokens <= {name for about, name in by if about == "processor"}


def test_a_tiny_model_is_looked_over_without_a_file(capsys):
    assert run(["doctor", "model=qwen2_audio", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert {fit["what"] for fit in report["fits"]} == {"all weights", "LoRA", "QLoRA"}


def test_a_missing_shard(folder):
    gone = sorted(folder.glob("model-*.safetensors"))[1]
    gone.unlink()
    [line] = wrong(f"model={folder}")
    assert line == (
        f"files: {folder}: 1 of {len(list(folder.glob('model-*'))) + 1} files of weights are "
        f"missing: {gone.name}; copy or download it again"
    )
    assert run(["doctor", f"model={folder}"]) == 2


def test_a_shard_that_is_cut_off(folder):
    cut = sorted(folder.glob("model-*.safetensors"))[0]
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-100])
    [line] = wrong(f"model={folder}")
    assert f"{cut}: it is cut off: {len(whole) - 100:,} bytes of {len(whole):,}" in line
    for start in (b"", b"\xff" * 64, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"):
        cut.write_bytes(start)
        [line] = wrong(f"model={folder}")
        assert "no safetensors file, or cut off" in line


def test_an_index_that_lists_more_or_leads_out_of_the_folder(folder):
    index = folder / "model.safetensors.index.json"
    first = sorted(folder.glob("model-*.safetensors"))[0].name
    rewrite(index, lambda values: values["weight_map"].update({"model.extra.weight": first}))
    assert "1 weights are in no file, such as model.extra.weight" in wrong(f"model={folder}")[0]
    rewrite(index, lambda values: values["weight_map"].update({"a": "../../secret"}))
    assert "'../../secret' is no file beside it" in wrong(f"model={folder}")[0]
    index.write_text("[]")
    assert "cannot be read as an index of weights" in wrong(f"model={folder}")[0]


def test_weights_in_another_format_or_none(folder):
    for file in folder.glob("model*"):
        file.unlink()
    assert "1 of 1 files of weights are missing: model.safetensors" in wrong(f"model={folder}")[0]
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "weights are .bin files; save them as safetensors" in wrong(f"model={folder}")[0]


def test_no_processor_files(folder):
    (folder / "processor_config.json").unlink()
    lines = wrong(f"model={folder}")
    assert lines[0].startswith(f"processor files: {folder}: there is no processor_config.json and")
    assert "take it from the checkpoint" in lines[0]


def test_no_tokenizer_files(folder):
    (folder / "tokenizer.json").unlink()
    lines = wrong(f"model={folder}")
    assert lines[0].startswith(f"tokenizer files: {folder}: there is no tokenizer.json and no")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "there is none"),
        ("{% for m in messages %}{{ m.role }}: Which?{% endfor %}", "no placeholder for: image, v"),
        (
            "<|IMAGE|><|VIDEO|>{% if add_generation_prompt %}assistant{% endif %}",
            "it leaves out the question",
        ),
        ("<|IMAGE|><|VIDEO|>Which?", "it leaves out where the assistant begins"),
        ("{{ raise_exception('roles must alternate') }}", "it fails: roles must alternate"),
        ("{% for %}", "it fails"),
    ],
)
def test_a_chat_template_that_does_not_show_what_is_asked(folder, template, message):
    (folder / "chat_template.jinja").write_text(template)
    [line] = wrong(f"model={folder}")
    assert line.startswith("chat template: ")
    assert message in line
    assert "put chat_template.jinja of an instruct checkpoint" in line


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>", "<newer>"])
    tokenizer.save_pretrained(folder)
    [line] = wrong(f"model={folder}")
    assert line.startswith("tokenizer: 992 tokens, 990 rows of the embedding: too few; use the")


def test_a_configuration_that_is_not_that_of_the_weights(folder):
    rewrite(folder / "config.json", lambda values: values["text_config"].update(vocab_size=1200))
    assert wrong(f"model={folder}") == [
        "embedding: 990 rows, and config.json says vocab_size 1200; "
        "set vocab_size to the rows, or save the model again after resizing"
    ]
    change = {"vocab_size": 990, "num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    rewrite(folder / "config.json", lambda values: values["text_config"].update(change))
    [line] = wrong(f"model={folder}")
    assert line.startswith("elements: 0.001 billion, and config.json describes 0.001; is config")


def test_sizes_that_no_model_has(folder):
    change = {"num_attention_heads": 0, "head_dim": None}
    rewrite(folder / "config.json", lambda values: values["text_config"].update(change))
    [line] = wrong(f"model={folder}")
    assert line.startswith("parameters: model.path: ")
    assert "not the configuration of a qwen2_5_vl" in line


def test_a_placeholder_with_another_id(folder):
    rewrite(folder / "config.json", lambda values: values.update(image_token_id=7))
    assert wrong(f"model={folder}") == [
        "image token: <|IMAGE|> is 3 in the tokenizer and 7 in config.json; "
        "take tokenizer and config.json from the same checkpoint"
    ]


def test_another_family_than_was_said(folder):
    assert wrong(f"model={folder}", "model.family=qwen2_vl") == [
        "family: config.json says 'qwen2_5_vl', model.family says qwen2_vl; model.family=qwen2_5_vl"
    ]


@pytest.mark.parametrize("method", [{"quant_method": "awq", "bits": 4}, "awq"])
def test_quantised_weights_do_not_learn(folder, method):
    rewrite(folder / "config.json", lambda values: values.update(quantization_config=method))
    [line] = wrong(f"model={folder}")
    assert line.startswith("quantised: its weights are quantised (awq), and cannot learn; take the")


def test_an_adapter_is_said_to_be_one(folder):
    for file in folder.glob("model*"):
        file.unlink()
    (folder / "adapter_config.json").write_text("{}")
    details = [one.detail for one in look(f"model={folder}") if one.about == "weights"]
    assert details == [
        "an adapter on other weights; mmrl export RUN out=DIR merge=true writes whole weights"
    ]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_folder_that_holds_no_configuration(folder, content, capsys):
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    assert wrong(f"model={folder}", "model.family=qwen2_5_vl")[0].startswith("config.json: ")
    assert run(["doctor", f"model={folder}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch=node8"], "doctor: say which model, model=NAME, before other keys"),
        (["model=qwen2_5_vl_9b"], "did you mean 'qwen2_5_vl_"),
        (["model=tiny_omni", "model.famly=a"], "model.famly: unknown key; did you mean"),
        (["model=tiny_omni", "optim.lr=fast"], "optim.lr: must be a number, got 'fast'"),
        (["model=tiny_omni", "launch=node9"], "there is no configs/launch/node9.yaml"),
        (["model=tiny_omni", "launch.strategy=ddp"], "launch: strategy 'ddp' does not go with 1"),
        (
            ["model=tiny_omni", "launch=node8", "optim.kind=adamw_8bit"],
            "mmrl: optim.kind: adamw_8bit keeps moments whole",
        ),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(arguments, message, capsys):
    assert run(["--project", str(ROOT), "doctor", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def doctor_offline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-m", "mmrl", "--project", str(ROOT), "doctor", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_without_the_hub_it_says_what_is_known(tmp_path):
    done = doctor_offline(tmp_path, "model=qwen2_5_vl_7b", "launch=node8", "model.lora.rank=64")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith(
        "Qwen/Qwen2.5-VL-7B-Instruct: the hub cannot be reached, and it was not downloaded before; "
        "what follows is known without it"
    )
    assert any("8.29 billion: vision 631.98 million, connector 44.57" in line for line in lines)
    assert any(re.search(r"8 x zero2 +LoRA", line) for line in lines)
    assert "adapters of rank 64 on language" in done.stdout
    assert "1 x" not in done.stdout
    unknown = doctor_offline(tmp_path, "model=someone/thing", "model.family=qwen2_vl")
    assert unknown.returncode == 2
    assert "training could not begin: parameters" in unknown.stdout


def test_what_was_downloaded_before_is_looked_over(checkpoints, tmp_path, monkeypatch, capsys):
    from huggingface_hub import constants

    cache = tmp_path / "hub" / "models--Qwen--Qwen2.5-VL-7B-Instruct"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    kept = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(checkpoints / "qwen2_5_vl", cache / "snapshots" / ("0" * 40), ignore=kept)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run(["--project", str(ROOT), "doctor", "model=qwen2_5_vl_7b", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = {(one["about"], one["name"]): one for one in told["findings"]}
    assert found["model", "hub"]["ok"]
    assert found["processor", "chat template"]["ok"]
    assert ("weights", "files") not in found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "RepositoryNotFoundError",
            "the hub has no such model, or does not show it; see model.path",
        ),
        ("GatedRepoError", "its terms have to be accepted on the hub first; see model.path"),
        ("RevisionNotFoundError", "there is no revision 'v9'; see model.path and model.revision"),
    ],
)
def test_what_the_hub_refuses_is_said(name, message, monkeypatch):
    import httpx
    import huggingface_hub

    def refuse(*arguments, **options):
        request = httpx.Request("GET", "https://hub.invalid")
        response = httpx.Response(404, request=request)
        raise getattr(huggingface_hub.errors, name)("404", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    [line] = wrong("model=qwen2_5_vl_7b", "model.revision=v9")
    assert line.startswith(f"hub: Qwen/Qwen2.5-VL-7B-Instruct: {message}")


def test_the_table_says_what_the_plan_says(capsys):
    arguments = ["model=qwen2_5_vl_7b", "launch=node8"]
    shape = ["rollout.max_batch=64", "optim.micro_tokens=8192", "rollout.prompts_per_step=64"]
    sizes = ["--image", "640x480", "--completion-tokens", "1024", "--json"]
    assert (
        run(["--project", str(ROOT), "plan", "stage=geometry3k", *arguments, *shape, *sizes]) == 0
    )
    plan = json.loads(capsys.readouterr().out)["geometry3k"]
    whole, adapters = fits_of(read_subject(arguments, ROOT))
    assert (whole.what, adapters.what) == ("all weights", "LoRA")
    assert whole.needs[80] == pytest.approx(plan["memory"]["peak"] / 2**30)
    assert (whole.left(80) > 0) == plan["fits"]


def test_verdicts_leave_room_for_what_a_prediction_may_be_off_by():
    subject = read_subject(["model=qwen2_5_vl_7b"], ROOT)
    fits = fits_of(subject)
    words = {fit.verdict(gpu).split()[0] for fit in fits for gpu in fit.needs}
    assert words == {"fits", "tight", "lacks"}
    for fit in fits:
        needs = fit.needs[80]
        expected = "fits" if needs <= 0.85 * 79 else "tight" if needs <= 79 else "lacks"
        assert fit.verdict(80).split()[0] == expected
    ways = {(fit.what, fit.processes, fit.strategy) for fit in fits}
    assert len(ways) == len(fits) == 3 + 3 + 2 * 3
    assert ("QLoRA", 8, "zero3") not in ways
    lines = list(as_table(subject.stage, fits))
    assert "Prompts of 521 tokens with a picture of 640 x 480, 8 completions of 1024" in lines[0]
    assert len(lines) == len(fits) + 3


@pytest.mark.parametrize("name", [name for name in options(ROOT, "model") if name != "tiny_omni"])
def test_the_first_line_of_a_models_file_fits_80_gb(name):
    first = (ROOT / "configs" / "model" / f"{name}.yaml").read_text().splitlines()[0]
    arguments = first.removeprefix("# mmrl train stage=NAME ").split()
    bounds = ["rollout.max_batch=16", "optim.micro_tokens=4096", "rollout.max_new_tokens=1024"]
    subject = read_subject([*arguments, *bounds], ROOT)
    lora = subject.stage.model.lora
    what = "all weights" if lora is None else "QLoRA" if lora.quantize == "nf4" else "LoRA"
    fit = next(fit for fit in fits_of(subject) if fit.what == what)
    assert fit.left(80) > 0, f"needs {fit.needs[80]:.0f} GiB"


def test_a_path_with_an_unknown_type_is_one_line(folder, capsys):
    rewrite(folder / "config.json", lambda values: values.update(model_type="llama"))
    with pytest.raises(ConfigError, match=r"its config\.json says 'llama', which is none of"):
        look(f"model={folder}")
