"""One question at a time, and none longer than its deadline."""

import threading

import pytest

from magma_grounding_ros.model_thread import BusyError, CannotLoadError, LateError, ModelThread

LONG_S = 30.0


class GoneError(Exception):
    pass


def test_the_model_is_loaded_by_the_first_question_and_once():
    loaded = []
    thread = ModelThread(lambda: loaded.append(1) or "model", LONG_S)
    assert thread.model is None
    assert [thread.ask(lambda model: model, LONG_S) for _ in range(2)] == ["model", "model"]
    assert loaded == [1] and thread.model == "model"


def test_what_cannot_be_loaded_is_tried_again():
    answers = iter([ValueError("no weights"), "model"])

    def load():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    thread = ModelThread(load, LONG_S)
    with pytest.raises(CannotLoadError, match="the model cannot be loaded: no weights"):
        thread.ask(lambda model: model, LONG_S)
    assert thread.ask(lambda model: model, LONG_S) == "model"


def test_a_second_question_is_refused_and_a_late_answer_dropped():
    thread = ModelThread(lambda: "model", LONG_S)
    thread.ask(lambda model: model, LONG_S)
    go = threading.Event()
    with pytest.raises(LateError, match=r"no answer within 0\.01 s"):
        thread.ask(lambda model: go.wait(LONG_S), 0.01)
    with pytest.raises(BusyError, match="the last question, which came to no answer in time, is still being worked on"):
        thread.ask(lambda model: model, LONG_S)
    go.set()
    answer = None
    while answer is None:
        try:
            answer = thread.ask(lambda model: "the second", LONG_S)
        except BusyError:
            continue
    assert answer == "the second"


def test_what_a_question_raises_reaches_who_asked():
    thread = ModelThread(lambda: "model", LONG_S, gone=lambda error: isinstance(error, GoneError))

    def fail(error):
        raise error

    for error in (KeyError("x"), TimeoutError("the server's own")):
        with pytest.raises(type(error)):
            thread.ask(lambda model, error=error: fail(error), LONG_S)
    assert thread.model == "model"
    with pytest.raises(GoneError):
        thread.ask(lambda model: fail(GoneError()), LONG_S)
    assert thread.model is None
    assert thread.ask(lambda model: model, LONG_S) == "model"


def test_nothing_is_asked_after_the_end():
    thread = ModelThread(lambda: "model", LONG_S)
    thread.close()
    with pytest.raises(BusyError, match="ending"):
        thread.ask(lambda model: model, LONG_S)
