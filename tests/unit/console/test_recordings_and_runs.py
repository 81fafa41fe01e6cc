"""What the pages of recordings and evaluations do with names, folders and programs that are anything."""

from __future__ import annotations

import time

import pytest

from magma_console.pages.jobs import MOST_JOBS, Jobs, JobsBusyError, inside
from magma_console.pages.recordings import Recorder, check_name, find, main
from magma_console.pages.runs import find as find_runs


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "-p", "a b", "x" * 81, "a\n", "é"])
def test_a_recordings_name_is_one_harmless_folder(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        check_name(name)
    with pytest.raises(ValueError, match="name"):
        Recorder(tmp_path, "").start(name)


def test_a_recording_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "first").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        Recorder(tmp_path, "").start("first")


@pytest.mark.parametrize("name", ["..", "../other", "/etc", "", ".git", "nothing"])
def test_only_folders_directly_inside_are_used(tmp_path, name):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="there is no"):
        inside(tmp_path / "shelf", name)


def test_recordings_are_listed_newest_first_and_a_damaged_one_is_said_to_be_so(tmp_path, capsys):
    assert find(tmp_path / "none") == []
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "one_0.mcap").write_bytes(b"not a recording")
    assert [item.name for item in find(tmp_path)] == ["one"]
    assert main([str(tmp_path / "one")]) == 1 and "MCAP" in capsys.readouterr().err


def test_programs_are_few_and_their_output_is_bounded():
    jobs, ended = Jobs(), []
    for number in range(MOST_JOBS):
        jobs.start(f"job {number}", "timeit", ["-n1", "-r1", "import time; time.sleep(30)"], ended.append)
    with pytest.raises(JobsBusyError, match="wait"):
        jobs.start("one more", "timeit", [])
    jobs.close()
    deadline_s = time.monotonic() + 60.0
    while len(ended) < MOST_JOBS and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert len(ended) == MOST_JOBS and jobs.running == [] and all(job.status != 0 for job in ended)


def test_a_run_that_cannot_be_read_is_listed_with_the_reason(tmp_path):
    assert find_runs(tmp_path) == []
    (tmp_path / "deep" / "run").mkdir(parents=True)
    (tmp_path / "deep" / "run" / "run.json").write_text("{")
    (tmp_path / "deep" / "run" / "film.mp4").touch()
    (found,) = find_runs(tmp_path)
    assert found.name == "deep/run" and found.trouble and found.films == ("film.mp4",)
