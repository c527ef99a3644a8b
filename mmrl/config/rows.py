"""The keys that say where rows come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from mmrl.config.section import Section


class DataSource(Section):
    """Rows from a file, rows that a data pipeline builds into the run folder before training, or
    rows that an earlier stage has selected.
    """

    path: Path | None = None
    """A rows file: .jsonl or .parquet."""
    pipeline: str | None = None
    """The name of a builder in data_pipelines/."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the builder."""
    stage: str | None = None
    """An earlier stage of kind select: the rows that it kept."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many rows."""

    @model_validator(mode="after")
    def _one_origin(self) -> DataSource:
        if sum(origin is not None for origin in (self.path, self.pipeline, self.stage)) != 1:
            raise ValueError(
                "give either 'path' (a rows file) or 'pipeline' (a builder), not both or neither; "
                "or 'stage' (an earlier select stage)"
            )
        if self.params and self.pipeline is None:
            raise ValueError("'params' belong to a 'pipeline'")
        return self


class DataConfig(Section):
    """Where rows come from."""

    train: dict[str, DataSource] = Field(min_length=1)
    """By a name of your choice."""
    heldout: dict[str, DataSource] = Field(default_factory=dict)
    """Rows that are only ever evaluated on."""
    system: str | None = None
    """A system message put before each row's prompt."""

    @model_validator(mode="after")
    def _heldout(self) -> DataConfig:
        if any(source.stage for source in self.heldout.values()):
            raise ValueError("heldout: rows that a stage selects are trained on, not evaluated on")
        return self
