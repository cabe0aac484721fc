"""The parts of the interview example: what it measures, what it asks, which files it writes."""

from __future__ import annotations

import json
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interview_example import ANSWERS, analysis, conversation, files, graph, questions, talk_through
from wren_sessions import SessionSaver, open_store

# --- analysis -------------------------------------------------------------------------------------


def test_words_are_letters_of_any_alphabet_in_lower_case() -> None:
    """Apostrophes belong to a word; digits, dashes and punctuation do not."""
    assert analysis.words("I DON'T know – 42 times! Ça va, мир?") == [
        "i", "don't", "know", "times", "ça", "va", "мир",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "expected"),
    [([], 0.0), (["a"], 1.0), (["a", "a"], 0.5), (["a", "b", "a", "c"], 0.75)],
)
def test_richness_of_a_short_text_is_distinct_words_by_words(
    said: list[str], expected: float
) -> None:
    """A text that fits into one window has the plain ratio."""
    assert analysis.richness(said) == expected


def test_richness_does_not_fall_because_a_text_is_long() -> None:
    """Every window of a text that repeats itself after 50 words has 50 distinct ones."""
    said = [f"word{number}" for number in range(analysis.WINDOW)]
    assert analysis.richness(said * 10) == 1.0


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], 1.0),
        ([0], 1.0),
        ([analysis.FULL_ANSWER], 0.0),
        ([400], 0.0),
        ([10], 0.75),
        ([0, 20, 90], 0.5),
    ],
)
def test_brevity_is_the_average_distance_from_a_full_answer(
    lengths: list[int], expected: float
) -> None:
    """Silence is 1, forty words or more are 0."""
    assert analysis.brevity(lengths) == expected


def test_measures_before_anything_is_said() -> None:
    """Nothing said is no richness, all brevity, no engagement."""
    assert analysis.measure([]) == {
        "vocabulary_richness": 0.0,
        "response_brevity": 1.0,
        "engagement_index": 0.0,
    }


def test_measures_of_known_answers() -> None:
    """Ten words, nine of them distinct, in two answers of which one gives a reason."""
    found = analysis.measure(["I love the sea because it is", "the big blue"])
    assert found == {
        "vocabulary_richness": 0.9,
        "response_brevity": 0.875,
        "engagement_index": round(0.6 * 0.125 + 0.2 * 0.9 + 0.2 * 0.5, 3),
    }


@given(st.lists(st.text(max_size=300), max_size=8))
def test_measures_stay_between_0_and_1(answers: list[str]) -> None:
    """Whatever is said, the numbers are in range and the same each time."""
    found = analysis.measure(answers)
    assert all(0 <= value <= 1 for value in found.values() if isinstance(value, float))
    assert found == analysis.measure(answers)


# --- the choice of questions ----------------------------------------------------------------------


def questions_for(answers: list[str]) -> list[str]:
    """The ids that `choose` gives when these answers are said one after the other."""
    asked: list[str] = []
    for number in range(len(answers) + 1):
        asked.append(questions.choose(asked, answers[:number]).question.id)
    return asked


@given(st.lists(st.text(max_size=80) | st.sampled_from(ANSWERS), max_size=20))
def test_questions_are_chosen_the_same_way_each_time_and_never_repeat(answers: list[str]) -> None:
    """The choice is a function of what was said, and the opening comes first."""
    asked = questions_for(answers)
    assert asked == questions_for(answers)
    assert len(set(asked)) == len(asked)
    assert asked[0] == questions.OPENING.id


@given(st.lists(st.sampled_from(["no", "yes it is", *ANSWERS]), min_size=1, max_size=12))
def test_a_short_answer_is_probed_but_never_twice_in_a_row(answers: list[str]) -> None:
    """A probe follows exactly on short answers to questions that are no probes themselves."""
    topics = [questions.TOPICS[name] for name in questions_for(answers)]
    for before, answer, after in zip(topics, answers, topics[1:], strict=False):
        probes_left = topics.count(questions.PROBE) < sum(
            question.topic == questions.PROBE for question in questions.BANK
        )
        if after == questions.PROBE:
            assert before != questions.PROBE
            assert len(analysis.words(answer)) < 5
        elif probes_left:
            assert before == questions.PROBE or len(analysis.words(answer)) >= 5


def test_a_question_follows_up_on_what_was_said_and_says_so() -> None:
    """A cue in the last answer leads to its question, which quotes the word."""
    choice = questions.choose(
        [questions.OPENING.id], ["There was an old lighthouse on that cold island"]
    )
    assert choice.question.id == "landscape"
    assert choice.text.startswith("You mentioned “lighthouse”. What is it about that landscape")


def test_without_a_cue_the_interview_goes_on_to_another_topic() -> None:
    """Long answers without any cue lead through different topics."""
    nothing = "That would be rather difficult for me"
    topics = [questions.TOPICS[name] for name in questions_for([nothing] * 7)]
    assert len(set(topics)) == 8


def test_the_bank_is_larger_than_an_interview_and_says_when_it_is_empty() -> None:
    """Ids are unique, every topic has questions, and running out is an error, no repetition."""
    assert len(questions.TOPICS) == len(questions.BANK) >= 25
    assert sum(question.topic != questions.PROBE for question in questions.BANK) > graph.TURNS
    with pytest.raises(LookupError, match="questions were asked"):
        questions.choose(
            list(questions.TOPICS), ["a long answer with quite a few words"] * len(questions.BANK)
        )


def test_topics_are_counted_with_the_most_frequent_first() -> None:
    """Topics that were not touched are left out, equals are in alphabetical order."""
    found = questions.topics_in(["A dragon in a war", "Dragons and more dragons"])
    assert list(found.items()) == [("wonder", 3), ("truth", 1)]


# --- files ----------------------------------------------------------------------------------------

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


@given(ids | st.sampled_from([".", "..", "...", "../..", "a/b", "/etc", "C:\\x", "\0", "%2E"]))
def test_no_id_leaves_the_folder_of_the_profiles(session: str) -> None:
    """Every id is one ordinary name below the folder."""
    root = Path("/profiles")
    part = files.path_part(session)
    assert Path(os.path.normpath(root / part)).parent == root
    assert not set(part) & set("/\\\0:")
    assert len(part.encode()) <= 255


@given(st.lists(ids | st.sampled_from([".", "..", "%2E", "%2E%2E", "x" * 300]), unique=True))
def test_different_ids_have_different_folders(sessions: list[str]) -> None:
    """No two sessions write each other's files."""
    assert len({files.path_part(session) for session in sessions}) == len(sessions)


def finished() -> graph.Interview:
    """A finished interview, made without a store."""
    with closing(open_store("memory://")) as store:
        talk = conversation.Conversation(graph.build_graph(SessionSaver(store)), "done")
        talk_through(talk, ANSWERS)
        return talk.state


def test_the_files_hold_the_conversation_and_the_profile(tmp_path: Path) -> None:
    """Both say which session they are of, when it ended, and which schema they follow."""
    state = finished()
    written = files.write_files(tmp_path, "s:1", state)
    assert written == [
        tmp_path / "s%3A1" / "logs" / "conversation.json",
        tmp_path / "s%3A1" / "profiles" / "profile.json",
    ]
    log, profile = (json.loads(path.read_text(encoding="utf-8")) for path in written)
    assert log["schema_version"] == profile["schema_version"] == 1
    assert log["session_id"] == profile["session_id"] == "s:1"
    assert log["turn_count"] == graph.TURNS
    assert [message["role"] for message in log["messages"]] == [
        *["assistant", "user"] * graph.TURNS,
        "assistant",
    ]
    assert log["started_at"] <= log["completed_at"] == profile["completed_at"]
    assert profile["analysis"] == state["current_analysis"]
    assert profile["profile_data"] == state["profile_data"]


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last step fails, the old file stays, whole, with nothing left beside it."""
    path = tmp_path / "deep" / "down" / "x.json"
    files.write_json(path, {"text": "été"})
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"text": "new"})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def _full_disk(_handle: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
def test_a_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """What somebody said is nobody else's business."""
    files.write_json(tmp_path / "x.json", {})
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o600


def test_an_interview_begins_with_nothing_said() -> None:
    """The first state has every part, so that nothing needs a default later."""
    assert set(graph.beginning()) == set(graph.Interview.__annotations__)
    assert graph.beginning()["turn_count"] == 0
