"""MovieLens-100K prompts straight from RecBole's atomic files, by rules so plain that they share nothing with softflow."""

from pathlib import Path

from common import prompt

HISTORY = 10


def rows(path):
    lines = path.read_text("utf-8").split("\n")
    return [line.split("\t") for line in lines[1:] if line]


def item_titles(folder):
    return {row[0]: row[1] for row in rows(Path(folder) / "ml-100k.item")}


def by_bytes(ids):
    return sorted(ids, key=lambda raw: raw.encode("utf-8"))


def user_prompts(folder):
    """(raw user id, prompt) of the first ten items by (timestamp, source row), users by raw id in UTF-8 byte order."""
    titles, histories = item_titles(folder), {}
    for number, (user, item, _, time) in enumerate(rows(Path(folder) / "ml-100k.inter")):
        histories.setdefault(user, []).append((float(time), number, item))
    return [
        (user, prompt([titles[item] for _, _, item in sorted(histories[user])[:HISTORY]])) for user in by_bytes(histories)
    ]
