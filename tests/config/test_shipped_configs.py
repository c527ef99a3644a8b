from __future__ import annotations

from pathlib import Path

import pytest

from mmrl.config.files import ENTRIES, groups, options
from mmrl.config.loader import load_run
from mmrl.config.names import check_names
from mmrl.config.yaml12 import parse_file
from mmrl.project import default_project

ROOT = default_project()
FILES = [(group, name) for group in groups() for name in options(ROOT, group)]


def label(file: tuple[str, str]) -> str:
    return "=".join(file)


def is_part(group: str, name: str) -> bool:
    """A file that others build on and that is not trained by itself."""
    return name.rpartition("/")[2] == "base"


@pytest.mark.parametrize(
    "file", [f for f in FILES if f[0] in ENTRIES and not is_part(*f)], ids=label
)
def test_every_stage_and_curriculum_validates(file):
    group, name = file
    loaded = load_run([f"{group}={name}", "out=x"], ROOT)
    check_names(loaded)
    assert loaded.run.stages


@pytest.mark.parametrize("file", [f for f in FILES if f[0] not in ENTRIES], ids=label)
def test_every_section_validates_in_a_stage(file):
    group, name = file
    stages = [one for one in options(ROOT, "stage") if not is_part("stage", one)]
    if not stages:
        pytest.skip("no stage is shipped yet")
    accepted = [f"stage={stage}" for stage in stages if takes(stage, group, name)]
    assert accepted, f"no stage takes {group}={name}"


def takes(stage: str, group: str, name: str) -> bool:
    from mmrl.errors import ConfigError

    try:
        load_run([f"stage={stage}", f"{group}={name}", "out=x"], ROOT)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("file", FILES, ids=label)
def test_every_file_opens_with_the_command_that_runs_it(file):
    group, name = file
    first = (ROOT / "configs" / group / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# mmrl train "), first
    own = f"{group}={name}"
    assert own in first or is_part(group, name) or f"{group}=" in first or "=NAME" in first


def test_every_file_of_configs_belongs_to_a_group():
    known = {ROOT / "configs" / group / f"{name}.yaml" for group, name in FILES}
    found = {path for path in (ROOT / "configs").rglob("*") if path.is_file()}
    stray = {
        path
        for path in found - known
        if path.relative_to(ROOT / "configs").parts[0] not in ("eval", "cold_start", "smoke")
    }
    assert not stray
    assert all(isinstance(parse_file(path, str(path)), dict) for path in found)


def test_parent_folders_are_not_climbed_out_of(tmp_path: Path):
    from mmrl.errors import ConfigError

    (tmp_path / "secret.yaml").write_text("kind: sft")
    (tmp_path / "project" / "configs" / "stage").mkdir(parents=True)
    for name in ("../../../secret", "/etc/passwd", "a/../../../../secret"):
        with pytest.raises(ConfigError, match="there is no configs/stage/"):
            load_run([f"stage={name}"], tmp_path / "project")
