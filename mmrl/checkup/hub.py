"""Finds the small files of a model on the hub, or in what was downloaded before; weights are left
where they are.
"""

from __future__ import annotations

from pathlib import Path

_SMALL = ["*.json", "*.jinja", "*.txt", "*.model"]
_TIMEOUT_S = 5


class RefusedError(ValueError):
    """The hub has no such model, or does not give it."""


def small_files(name: str, revision: str | None) -> Path:
    """The folder that configuration, tokenizer and processor are in.

    Raises:
        RefusedError: the hub says that they cannot be had; the message is one line.
        ValueError: the hub cannot be asked, and they are not here; likewise.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=_SMALL, etag_timeout=_TIMEOUT_S
        )
    except GatedRepoError as error:
        raise RefusedError(f"{name}: its terms have to be accepted on the hub first") from error
    except RevisionNotFoundError as error:
        raise RefusedError(f"{name}: there is no revision {revision!r}") from error
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"{name}: the hub cannot be reached, and it was not downloaded before"
        ) from error
    except RepositoryNotFoundError as error:
        raise RefusedError(f"{name}: the hub has no such model, or does not show it") from error
    # connections fail in ways of every library between here and there
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(f"{name}: the hub cannot be asked: {reason}") from error
    return Path(found)
