"""Every command that the documentation shows exists, by the program's own parser, or says visibly what it needs.

Pages of docs/how-to are run besides (`test_how_to_pages`). Words in capitals stand for a value, `[--flag X]` for what
may be left out, `a|b` for either.
"""

import importlib.util
import itertools
import re
import shlex
import tomllib

import pytest
from tests.deploy.command_lines import PROGRAMS, problem
from tests.docs.blocks import ROOT, Command, commands, pages

pytestmark = pytest.mark.slow  # jobs' and model server's parsers import what they name

_MARKED = {"docker": "container engine", "kubectl": "cluster"}
"""Programs that no test runs → what the page must say."""
_RUN_BY_TESTS = ("kubectl kustomize ",)
_ORDINARY = {
    "[", "cat", "cd", "cp", "createdb", "do", "done", "export", "for", "git", "head", "kill", "ln", "mkdir", "mv",
    "openssl", "sed", "set", "sh", "wait",
}  # fmt: skip
"""The shell's, and programs that are everybody's: what they do here is run by a test, or plain to see."""
_RUN_ELSEWHERE = {"grpcurl", "protoc"}
"""`tests/clients/test_documented_calls` runs these."""
_OURS = {*PROGRAMS, "make", "pip", "python", "uv"}
_DRAWN = re.compile(r"[│◀▶]|/<\w+>/|\btastemaker_front_\w+")
"""What only drawings, layouts of folders and queries for Prometheus have."""
_ASSIGNMENT = re.compile(r"^\w+=\S*$")
_ALL = [command for page in pages() for command in commands(page)]


def _words(command: Command) -> list[str]:
    """The words of the command line, without comment, redirections and what may be left out."""
    text = re.sub(r"\$\(.*?\)", "VALUE", command.text)
    text = re.sub(r"(?<=\s)\[(-[^\]]*)\]", r"\1", text)
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # a drawing, or a line of a file
        return []
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if "&" in words[-1:]:
        words = words[:-1]
    return list(itertools.takewhile(lambda word: not re.match(r"^\d?[<>]|^\|$", word), words))


def _program(words: list[str]) -> str:
    return words[0].rpartition("/")[2] if words else ""


def _inner(words: list[str]) -> list[str]:
    """What runs in a container or a pod: after `--`, or after the name of a compose service."""
    if "--" in words:
        return words[words.index("--") + 1 :]
    for service, program in (("jobs", ["tastemaker-jobs"]), ("front", [])):
        if service in words[3:] and {"run", "exec"} & set(words):
            return [*program, *words[words.index(service, 3) + 1 :]]
    return []


def _alternatives(words: list[str]) -> list[list[str]]:
    """`a|b` once with each."""
    return [list(chosen) for chosen in itertools.product(*(word.split("|") for word in words))]


def _of(*programs: str) -> list[Command]:
    return [command for command in _ALL if _program(_words(command)) in programs]


def test_our_programs_take_what_the_pages_show() -> None:
    wrong, seen = [], set()
    for command in _ALL:
        words = _words(command)
        words = _inner(words) or words if _program(words) in _MARKED else words
        if _program(words) in PROGRAMS:
            for program, *arguments in _alternatives([_program(words), *words[1:]]):
                seen.add((program, arguments[0] if arguments else ""))
                said = problem(program, [re.sub(r"^[A-Z]+$", "1", argument) for argument in arguments])
                wrong += [f"{command.where}: {command.text}: {said}"] if said is not None else []
    assert wrong == []
    shown = {name for program, name in seen if program == "tastemaker-jobs"}
    assert {"train", "evaluate", "publish", "promote", "rollback", "precompute", "crossval", "tune"} <= shown
    assert {program for program, _ in seen} >= {"tastemaker", "tastemaker-server", "tastemaker-modelserver"}


def test_make_targets_extras_and_modules_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    for command in _of("make"):
        assert set(_words(command)[1:]) <= targets, command
    named = [name for command in _of("pip") for name in re.findall(r"tastemaker\[([\w,]+)\]", command.text)]
    assert named
    assert {extra for names in named for extra in names.split(",")} <= extras
    for command in _of("python"):
        words = _words(command)
        if words[1:2] == ["-m"]:
            assert importlib.util.find_spec(words[2]) is not None, command


def test_what_no_test_can_run_says_what_it_needs() -> None:
    marked = _of(*_MARKED)
    assert len(marked) > 10
    unmarked = [
        f"{command.where}: {command.text}"
        for command in marked
        if command.mark != _MARKED[_program(_words(command))] and not command.text.startswith(_RUN_BY_TESTS)
    ]
    assert unmarked == []
    gpu = [command for command in _ALL if re.search(r"(--gpu\b|\[\w+,gpu\])", command.text)]
    assert len(gpu) >= 3
    assert [command.where for command in gpu if command.mark != "GPU"] == []


def test_no_block_has_a_program_that_is_not_known_here() -> None:
    """Judged are blocks marked `sh`, and lines of indented blocks that look like a command at all."""
    unknown = [
        f"{command.where}: {command.text}"
        for command in _ALL
        if (program := _program(_words(command)))
        and re.fullmatch(r"[a-z][\w.-]*", program)
        and program not in _OURS | _MARKED.keys() | _ORDINARY | _RUN_ELSEWHERE
        and command.text not in _FILES
        and not _DRAWN.search(command.text)
    ]
    assert unknown == []


_FILES = {
    # docs/modelserver.md: a Python file that the reader writes.
    "import os, sysconfig",
    # docs/deploy.md: lines of models.config.
    "model_version_policy {",
    "specific {",
}
"""Lines of indented blocks that are a file's, not the shell's."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tastemaker-jobs train rnn [--seed 1] > log 2>&1 &", ["tastemaker-jobs", "train", "rnn", "--seed", "1"]),
        ("A=b tastemaker health    # waits", ["tastemaker", "health"]),
        ('tastemaker-server x --after "$(jq .x y)"', ["tastemaker-server", "x", "--after", "VALUE"]),
    ],
)
def test_words_of_a_line(text: str, words: list[str]) -> None:
    assert _words(Command("here", text, "")) == words
