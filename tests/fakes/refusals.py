"""What ffmpeg says when it refuses, from the texts in `messages/`, with this call's words in place of theirs."""

from __future__ import annotations

import os
import re

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "messages")


class Refusal(Exception):  # noqa: N818  (it is what ffmpeg does, and right to do)
    """The situation of a text in `messages/`, and what stands in it in place of what."""

    def __init__(self, rung: str, situation: str, words: dict[str, str] | None = None) -> None:
        super().__init__(situation)
        self.rung = rung
        self.situation = situation
        self.words = words or {}

    def told(self, version: str, **more: str) -> tuple[str, int]:
        """The text for stderr, and the exit code."""
        text, code = kept(version, self.rung, self.situation)
        return put_in(text, self.words | more), code


def kept(version: str, rung: str, situation: str) -> tuple[str, int]:
    """A text of `messages/` and its exit code."""
    path = os.path.join(_FOLDER, f"{version}-{rung}-{situation}.txt")
    with open(path, encoding="utf-8") as file:
        header, _, text = file.read().partition("\n\n")
    return text, int(header.rpartition("# exit ")[2])


def put_in(text: str, words: dict[str, str]) -> str:
    """The text with whole words replaced, all at once."""
    if not words:
        return text
    longest_first = sorted(words, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in longest_first)
    return re.sub(pattern, lambda match: words[match[0]], text)
