"""Speaks with a vLLM server: waits a while for one that cannot be reached, and says in one line
what is wrong with one that answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from mmrl.errors import ConfigError, DataError, ProcessError, UserError

PATIENCE_S = 60.0
"""How long a server is tried again that cannot be reached; a network's hiccup is over by then."""
FIRST_PATIENCE_S = 10.0
"""The same before anything was trained, when the address may be wrong."""
AT_ONCE = 64
"""Requests that are sent at the same time; the server queues them."""
_PASSING = (502, 503, 504)
"""What a proxy or a server answers that will be there again soon."""
_PROBE = "<answer>Which of the 12 is größer?</answer>"
"""A text that tokenizers of different models cut up differently."""


@dataclass(kw_only=True, slots=True)
class VllmClient:
    """A vLLM server as the trainer sees it. Every request can be sent again: what is drawn hangs on
    the seed that goes with it.
    """

    url: str
    timeout_s: float
    patience_s: float = FIRST_PATIENCE_S
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(
            base_url=self.url.rstrip("/"),
            timeout=httpx.Timeout(self.timeout_s, connect=min(10.0, self.timeout_s)),
            limits=httpx.Limits(max_connections=AT_ONCE),
        )

    @property
    def where(self) -> str:
        """What messages begin with."""
        return f"rollout.vllm.url: {self.url}"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post(self, path: str, body: Any = None, *, about: str = "") -> Any:
        """The JSON that the server answers, None where it answers nothing.

        Raises:
            ProcessError: the server is gone, or does not answer in time.
            DataError: it refuses the request.
        """
        answer = self._patiently(lambda: self._http.post(path, json=body), path, about)
        if answer.is_error:
            reason = " ".join(answer.text.split())[:300]
            raise DataError(f"{about}{self.where}{path} answers {answer.status_code}: {reason}")
        return answer.json() if answer.content else None

    def load_weights(self, folder: str, version: str) -> None:
        """Have the server read the weights in a folder that both see, and forget what it computed
        with others: prefixes, media and the features of encoders.

        Raises:
            ProcessError: the server is gone.
            ConfigError: it cannot read them, or they are those of another model.
        """
        try:
            order = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            self.post("/collective_rpc", order)
        except DataError as error:
            raise ConfigError(
                f"{self.where} does not take the weights; is {folder} a folder that the server "
                f"sees, and its model the one that is trained? ({error})"
            ) from error
        for cache in ("prefix", "mm", "encoder"):
            self.post(f"/reset_{cache}_cache")
        self.post("/update_weight_version", {"new_version": version})

    def check_version(self, version: str) -> None:
        """Refuse a server that does not hold the weights that it was given.

        Raises:
            ProcessError: it was started again, or another run has given it others.
        """
        found = self._get("/weight_info").get("weight_version")
        if found != version:
            raise ProcessError(
                f"{self.where} no longer holds the weights of this run but {found!r}: it was "
                "started again, or another run uses it; give each run a server of its own, and "
                "resume this one"
            )

    def check(self, *, model_class: str, encode: Callable[[str], list[int]]) -> int:
        """The most tokens of a prompt with its completion.

        Args:
            model_class: What vLLM calls the class of the model that is trained.
            encode: The tokenizer that is trained with, without special tokens at the ends.

        Raises:
            ConfigError: there is no server, or it was started in a way that cannot be trained with.
        """
        try:
            models = self._get("/v1/models")["data"]
            model = self._get("/server_info", config_format="json")["vllm_config"]["model_config"]
        except ProcessError as error:
            raise ConfigError(str(error)) from error
        except DataError as error:
            raise ConfigError(
                f"{self.where} takes no weights; start it with mmrl serve (docs/vllm.md): {error}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{self.where} does not answer as vLLM does ({type(error).__name__}: {error}); "
                "start one with mmrl serve (docs/vllm.md)"
            ) from error
        normalises = (model.get("multimodal_config") or {}).get("mm_device_do_normalize")
        if model.get("logprobs_mode") != "processed_logprobs" or normalises:
            raise ConfigError(
                f"{self.where}: start it with --logprobs-mode processed_logprobs and "
                "--no-mm-device-do-normalize, as mmrl serve does (docs/vllm.md), or its log-probs "
                "and pictures are not those of training"
            )
        self._check_model(model_class, str(model.get("model")))
        self._check_tokenizer(encode, str(model.get("tokenizer")))
        self.patience_s = PATIENCE_S
        return int(models[0]["max_model_len"])

    def _check_model(self, expected: str, name: str) -> None:
        said = self.post("/collective_rpc", {"method": "get_model_inspection"})
        found = str(said["results"][0]).partition("(")[0]
        if found != expected:
            raise ConfigError(
                f"{self.where} serves {name}, a {found}, where a {expected} is trained; start it "
                "with the model that is trained"
            )

    def _check_tokenizer(self, encode: Callable[[str], list[int]], name: str) -> None:
        said = self.post("/tokenize", {"prompt": _PROBE, "add_special_tokens": False})
        if said["tokens"] != encode(_PROBE):
            raise ConfigError(
                f"{self.where} has another tokenizer ({name}) than model.path; start it with the "
                "model that is trained"
            )

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._patiently(lambda: self._http.get(path, params=parameters), path, "")
        if answer.is_error:
            raise DataError(f"{path} answers {answer.status_code}")
        return json.loads(answer.text)

    def _patiently(self, send: Callable[[], httpx.Response], path: str, about: str) -> Any:
        """The answer, with more attempts where the server cannot be reached."""
        import tenacity

        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_delay(self.patience_s),
            wait=tenacity.wait_exponential_jitter(initial=0.5, max=8, jitter=0.5),
            retry=tenacity.retry_if_exception(_passes)
            | tenacity.retry_if_result(lambda answer: answer.status_code in _PASSING),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        try:
            return attempts(send)
        except httpx.HTTPError as error:
            raise self._unreachable(error, path, about) from error

    def _unreachable(self, error: httpx.HTTPError, path: str, about: str) -> UserError:
        what = f"{about}{self.where}{path}: {type(error).__name__}: {error}"
        if isinstance(error, httpx.ReadTimeout):
            return ProcessError(
                f"{what}; no answer within rollout.vllm.timeout_s ({self.timeout_s:g}); raise it, "
                "or look at the server's log"
            )
        return ProcessError(
            f"{what}, for {self.patience_s:g} s; is the server (mmrl serve, docs/vllm.md) there? "
            "Start it, and then the run again or mmrl resume"
        )


def _passes(error: BaseException) -> bool:
    """Whether another attempt may do better; a server that is slow would only be slow again."""
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)
