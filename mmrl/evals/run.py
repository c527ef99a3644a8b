"""Runs an evaluation: ask what the log does not hold, score everything, write the numbers.

The folder of a run holds run.json (what was run), items.jsonl (the questions), samples.jsonl (the
log), errors.jsonl (what could not be answered, asked again next time), scores.jsonl (every verdict)
and results.json (the numbers). The same answers give the same bytes in the last two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl import __version__
from mmrl.errors import DataError
from mmrl.evals.benchmark import Benchmark, Item, Response, Score, find_benchmark
from mmrl.evals.engine import Answer, Engine, Request
from mmrl.evals.engines import make_engine
from mmrl.evals.log import ERRORS, LoggedSample, SampleLog, check_folder, write_lines
from mmrl.evals.questions import (
    Question,
    Task,
    as_question,
    load_task,
    processing,
    request_for,
    sampling,
)
from mmrl.evals.scoring import by_item, judge_all, missing, score_fields
from mmrl.evals.settings import EvalSettings
from mmrl.evals.summary import check_errors, summarise
from mmrl.screen import Screen

RUN, ITEMS, SCORES, RESULTS = "run.json", "items.jsonl", "scores.jsonl", "results.json"

Report = Callable[[Sequence[tuple[Benchmark, Mapping[str, Any]]]], object]


def run_evaluation(
    settings: EvalSettings,
    project: Path,
    *,
    report: Report = lambda summaries: None,
    screen: Screen | None = None,
) -> dict[str, Any]:
    """Answer and score the benchmarks that the settings name; return what results.json holds.

    Raises:
        UserError: settings, data, model or server cannot be used; or more samples than
            `max_errors` have no verdict, in which case everything was written all the same.
    """
    screen = screen or Screen()
    benchmarks = [find_benchmark(name, project) for name in settings.tasks]
    check_folder(settings.out)  # before minutes are spent on loading data and a model
    tasks = [
        load_task(benchmark, settings.tasks[benchmark.name], settings) for benchmark in benchmarks
    ]
    engine = make_engine(settings, benchmarks, project)
    for task in tasks:
        _say_partial(task, settings, screen)
    try:
        return evaluate_tasks(tasks, engine, settings, report=report, screen=screen)
    finally:
        engine.close()


def evaluate_tasks(
    tasks: Sequence[Task],
    engine: Engine,
    settings: EvalSettings,
    *,
    report: Report = lambda summaries: None,
    screen: Screen,
) -> dict[str, Any]:
    """Answer, score and write tasks that are loaded, with an engine that is ready.

    Raises:
        RunError: too many samples have no verdict.
    """
    log = SampleLog(folder=settings.out)
    try:
        write_json(settings.out / RUN, _described(tasks, engine, settings))
        write_lines(
            settings.out / ITEMS,
            (as_question(task.benchmark, q) for task in tasks for q in task.questions),
        )
        (settings.out / ERRORS).unlink(missing_ok=True)
        summaries = [
            (task.benchmark, lines, summary)
            for task in tasks
            for lines, summary in [_one_task(task, engine, log, settings, screen)]
        ]
        write_lines(settings.out / SCORES, (line for _, lines, _ in summaries for line in lines))
        results = {
            **_described(tasks, engine, settings),
            "results": {benchmark.name: summary for benchmark, _, summary in summaries},
        }
        write_json(settings.out / RESULTS, results)
    finally:
        log.close()
    report([(benchmark, summary) for benchmark, _, summary in summaries])
    for _, _, summary in summaries:
        check_errors(summary, settings.max_errors)
    return results


def response_of(line: LoggedSample, coordinates: Any) -> Response:
    """Return a logged sample as what scorers take."""
    return Response(
        text=line.response,
        stop=line.stop,
        extraction=line.extraction,
        coordinates=coordinates,
        sizes=line.sizes,
    )


def _one_task(
    task: Task, engine: Engine, log: SampleLog, settings: EvalSettings, screen: Screen
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    keys, errors = _ask(task, engine, log, settings, screen)
    benchmark = task.benchmark
    scored: list[tuple[Item, dict[str, Score]]] = []
    lines: list[dict[str, Any]] = []
    for question in task.questions:
        for sample in range(settings.samples):
            place = (question.item.id, sample)
            line = log.samples.get(keys.get(place, ""))
            if line is None:
                scores = missing(benchmark.modes, errors.get(place, "no answer"))
            else:
                response = response_of(line, engine.coordinates)
                scores = judge_all(benchmark, question.item, response, benchmark.modes)
            scored.append((question.item, scores))
            lines.append(score_line(benchmark, question.item, sample, line, scores))
    summary = summarise(benchmark, by_item(scored), benchmark.modes, resamples=settings.resamples)
    return lines, summary


def score_line(
    benchmark: Benchmark,
    item: Item,
    sample: int,
    line: LoggedSample | None,
    scores: Mapping[str, Score],
) -> dict[str, Any]:
    """Return one line of scores.jsonl."""
    return {
        "task": benchmark.name,
        "scorer": benchmark.version,
        "id": item.id,
        "sample": sample,
        "key": line.key if line else None,
        "response": line.response if line else None,
        "stop": line.stop if line else None,
        "modes": {mode: score_fields(score) for mode, score in scores.items()},
    }


def _ask(
    task: Task, engine: Engine, log: SampleLog, settings: EvalSettings, screen: Screen
) -> tuple[dict[tuple[str, int], str], dict[tuple[str, int], str]]:
    """Ask what the log does not hold; return the key, or the error, of every sample."""
    name = task.benchmark.name
    keys: dict[tuple[str, int], str] = {}
    errors: dict[tuple[str, int], str] = {}
    record = {**processing(task, engine), "sampling": sampling(task.decoding, settings)}
    total = len(task.questions) * settings.samples
    with screen.bar(name, total) as bar:
        for batch in _batches(task.questions, settings.samples, engine.batch):
            requests = list(_open_requests(task, batch, engine, log, settings, keys, errors))
            for request, answer in engine.answer(requests):
                place = (request.item.id, request.sample)
                if answer.error is not None:
                    errors[place] = answer.error
                    keys.pop(place)
                    _append_error(settings.out, name, place, answer.error)
                else:
                    log.append(_logged(request, answer, record))
            bar.advance(len(batch))
    log.sync()
    return keys, errors


def _open_requests(
    task: Task,
    batch: Sequence[tuple[Question, int]],
    engine: Engine,
    log: SampleLog,
    settings: EvalSettings,
    keys: dict[tuple[str, int], str],
    errors: dict[tuple[str, int], str],
) -> Iterator[Request]:
    """Yield the requests of a batch that have no answer yet, and note the keys of all."""
    asked: set[str] = set()
    for question, sample in batch:
        place = (question.item.id, sample)
        try:
            request = request_for(task, question, sample, engine, settings)
        except DataError as error:
            errors[place] = str(error)
            _append_error(settings.out, task.benchmark.name, place, str(error))
            continue
        keys[place] = request.key
        if request.key not in log.samples and request.key not in asked:
            asked.add(request.key)
            yield request


def _batches(
    questions: Sequence[Question], samples: int, size: int
) -> Iterator[list[tuple[Question, int]]]:
    """Yield all samples in fixed batches, the same ones however often a run was stopped."""
    pairs = [(question, sample) for question in questions for sample in range(samples)]
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _logged(request: Request, answer: Answer, record: Mapping[str, Any]) -> LoggedSample:
    return LoggedSample(
        key=request.key,
        task=request.task,
        id=request.item.id,
        sample=request.sample,
        response=answer.text,
        stop=answer.stop,
        tokens=answer.tokens,
        settings=record,
        sizes=answer.sizes,
        extraction=answer.extraction,
    )


def _described(tasks: Sequence[Task], engine: Engine, settings: EvalSettings) -> dict[str, Any]:
    """Return what was run, without clocks and without the folder that it was written to."""
    return {
        "mmrl": __version__,
        "model": settings.model,
        "engine": {
            "name": engine.name,
            "version": engine.version,
            "weights": engine.weights,
            "coordinates": engine.coordinates,
            "settings": dict(engine.settings),
        },
        "samples": settings.samples,
        "max_errors": settings.max_errors,
        "resamples": settings.resamples,
        "tasks": {
            task.benchmark.name: {
                "version": task.benchmark.version,
                "data": task.source,
                "split": task.split.name,
                "items": len(task.questions),
                "of": task.split.count,
                "sampling": sampling(task.decoding, settings),
                "media": processing(task, engine)["media"],
            }
            for task in tasks
        },
    }


def _say_partial(task: Task, settings: EvalSettings, screen: Screen) -> None:
    count, name = len(task.questions), task.benchmark.name
    if settings.tasks[name].limit is None and task.split.count not in (None, count):
        screen.say(
            f"mmrl: {name}: {task.source} has {count} items; the released split {task.split.name} "
            f"has {task.split.count}"
        )


def _append_error(out: Path, task: str, place: tuple[str, int], reason: str) -> None:
    line = {"task": task, "id": place[0], "sample": place[1], "error": reason}
    with (out / ERRORS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a whole JSON file at once: readers see the old one or the new one."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.rename(path)
