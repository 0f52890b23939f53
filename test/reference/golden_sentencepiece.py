"""A small SentencePiece BPE model of the kind that Llama 2 and Mistral use, and the ids it gives to our titles.

python golden_sentencepiece.py
"""

import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

import sentencepiece

GOLDEN = Path(__file__).parent / "golden"
TOKEN_TYPES = {"normal": 1, "unknown": 2, "control": 3, "byte": 6}


def train(texts):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        character_coverage=0.98,
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def token_type(model, i):
    if model.is_unknown(i):
        return TOKEN_TYPES["unknown"]
    if model.is_control(i):
        return TOKEN_TYPES["control"]
    return TOKEN_TYPES["byte" if model.is_byte(i) else "normal"]


def main():
    titles = json.loads((GOLDEN / "titles.json").read_text("utf-8"))["titles"]
    texts = titles + ['The user has watched: "%s", "%s"' % pair for pair in zip(titles, titles[1:])] + ["  a  b ", "\n\n### x\n"]
    # Line feeds end a sentence of the trainer.
    model = train([text for text in texts if "\n" not in text])
    ids = range(model.get_piece_size())
    content = {
        "madeBy": {"command": "python golden_sentencepiece.py", "versions": {"sentencepiece": version("sentencepiece")}},
        "tokens": [model.id_to_piece(i) for i in ids],
        "scores": [model.get_score(i) for i in ids],
        "types": [token_type(model, i) for i in ids],
        "texts": [{"text": text, "ids": model.encode(text)} for text in texts[: len(titles)] + texts[-8:]],
    }
    assert all(model.decode(model.encode(text)) == text for text in texts)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items())
    (GOLDEN / "sentencepiece.json").write_text("{\n" + lines + "\n}\n", "utf-8")


sys.exit(main())
