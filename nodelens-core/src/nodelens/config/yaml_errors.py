"""What a YAML parser's complaint means, in a sentence that says what to mend."""

from __future__ import annotations

import re

import yaml


def explain(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Return the line to look at, from 1, and a sentence about it."""
    lines = text.splitlines()
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, int(error.position)) + 1
        return line, f"the character U+{ord(text[int(error.position)]):04X} is not allowed in YAML"
    if not isinstance(error, yaml.MarkedYAMLError):
        return 1, f"not valid YAML: {error}"
    problem, context = error.problem or "", error.context or ""
    line = error.problem_mark.line + 1 if error.problem_mark else 1
    opened = error.context_mark.line + 1 if error.context_mark else line
    if "\\t" in problem:
        return line, "a tab where YAML wants spaces; indent with spaces"
    if problem == "mapping values are not allowed here":
        column = error.problem_mark.column if error.problem_mark else 0
        return line, _stray_colon(lines, line, column)
    return _at_opening(problem, context, opened, lines) or (line, _at_problem(problem, context))


def _stray_colon(lines: list[str], line: int, column: int) -> str:
    before = lines[line - 1][:column]
    if ": " in before:
        return "a second ':' in one line; put the text that holds a ':' in quotes"
    above = next((text.strip() for text in reversed(lines[: line - 1]) if text.strip()), "")
    joined = re.match(r"(\w+):\S", above)
    if joined:
        return f"the line above, {above!r}, needs a space after its ':'"
    if ":" not in above:
        return f"the line above, {above!r}, has no ':'; write 'key: value'"
    return "indented deeper than the line above, which already has a value; line the keys up"


def _at_opening(
    problem: str, context: str, opened: int, lines: list[str]
) -> tuple[int, str] | None:
    """Return the sentence about mistakes that are best shown where the broken thing begins."""
    if context == "while scanning a quoted scalar" and "end of stream" in problem:
        return opened, "the quote that opens here is never closed"
    if problem == "could not find expected ':'":
        shown = lines[opened - 1].strip()
        if re.match(r"\w+:\S", shown):
            return opened, f"{shown!r} needs a space after its ':'"
        return opened, f"{shown!r} has no ':'; write 'key: value'"
    tagged = re.search(r"[\[{,:\s](![^\s,\]}]+)", lines[opened - 1])
    if context.startswith("while parsing a flow") and tagged:
        return opened, quotes(tagged[1])
    if context == "while parsing a flow sequence":
        return opened, "the list that '[' opens here has no ']', or an item lacks its ','"
    if context == "while parsing a flow mapping":
        return opened, "the mapping that '{' opens here has no '}', or an entry lacks its ','"
    return None


def quotes(text: str) -> str:
    """Return what to write in place of a text that YAML reads as a mark."""
    return f"text that starts with {text[0]!r} needs quotes: write '{text}'"


def _at_problem(problem: str, context: str) -> str:
    if "undefined alias" in problem:
        name = problem.removeprefix("found undefined alias ").strip("'")
        return f"'*{name}' refers to no anchor '&{name}'; {quotes(f'*{name}')}"
    if context == "while scanning an alias":
        return quotes("*")
    if problem.startswith("expected <block end>, but found '-'"):
        return "a list item ('- …') where a key ('key: value') was expected"
    if problem.startswith("expected <block end>, but found ']'"):
        return "a ']' that no '[' opens"
    if problem.startswith("expected <block end>, but found '}'"):
        return "a '}' that no '{' opens"
    if problem.startswith("expected <block end>"):
        return "this line does not line up with the lines above; check its indentation"
    start = re.fullmatch(r"found character '(.)' that cannot start any token", problem)
    if start:
        return f"text that starts with {start[1]!r} needs quotes"
    if context == "while scanning a directive":
        return "text that starts with '%' needs quotes"
    if problem.startswith("found unknown escape character"):
        return "an unknown escape after '\\' in double quotes; use single quotes"
    if context == "expected a single document in the stream":
        return "a second document begins with '---'; a config is one document"
    return f"not valid YAML: {': '.join(part for part in (context, problem) if part)}"
