"""The data sets of a comparison, one for each dimension: rows, held-out queries, the exact answers.

Everything comes from real sentence embeddings; bench/README.md says how each dimension is derived.
A made set is kept under build/bench-data and found again by a key of its recipe, so that all
contestants of all rounds read the same bytes.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import shutil
import subprocess

import numpy as np

from comparison.environment import python_of, variables
from dataset import SHIPPED, SHIPPED_VECTORS, normalised
from ground_truth import kth_similarity

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / "build" / "bench-data"
SHARED = REPOSITORY.parent / "shared" / "data"
MADE = CACHE / "wordnet"  # by bench/datasets/wordnet/embed.py, where there is no SHARED
WORDNET = pathlib.Path("/usr/share/wordnet")  # Debian's wordnet-base
TEXT = "wordnet_text_384.f16.npy"

QUERIES = 1000
K = 10
DIMENSIONS = (128, 256, 384, 512, 768, 1536)
MIXED_DIMENSIONS = (128, 768)
MIXED_ROWS = 1_000_000
# Raise it when a recipe changes: old files are then made again.
RECIPE = 1


@dataclasses.dataclass(frozen=True)
class Wanted:
    dim: int
    rows: int | None = None  # the first so many that are not held out; None: all
    seed: int = 1  # chooses the held-out rows, noise and mixtures
    mixed: bool = False  # MIXED_ROWS rows that are mixtures of real ones

    @property
    def name(self) -> str:
        size = "1m-mixed" if self.mixed else "all" if self.rows is None else str(self.rows)
        return f"{self.dim}-{size}"


@dataclasses.dataclass(frozen=True)
class Prepared:
    name: str
    source: str  # for people: what it was made of
    rows_path: pathlib.Path  # float32 .npy, unit length
    queries_path: pathlib.Path
    threshold: np.ndarray  # the similarity of each query's 10th neighbour
    count: int
    dim: int

    def rows(self) -> np.ndarray:
        return np.load(self.rows_path, mmap_mode="r")

    def queries(self) -> np.ndarray:
        return np.load(self.queries_path)


class NoSuchData(Exception):
    """Why a set cannot be made, in a sentence."""


class Sources:
    """The real embeddings: `text` (of a definition) and `words` of each synset, 384-d."""

    def __init__(self, given: pathlib.Path = SHARED, made: pathlib.Path = MADE) -> None:
        folders = {"shared/data": given, "WordNet embedded here": made}
        self.label, self.folder = next(
            ((label, folder) for label, folder in folders.items() if (folder / TEXT).is_file()),
            ("bench/datasets/wordnet", None))

    def text(self) -> np.ndarray:
        return normalised(np.load(self.folder / TEXT if self.folder else SHIPPED_VECTORS))

    def words(self, seed: int) -> np.ndarray | None:
        """Of shared/data the int8 codes with seeded noise of half a step, so that no index finds
        the data on its own grid; None where there are only texts."""
        if self.folder is None:
            return None
        if (self.folder / "wordnet_words_384.f16.npy").is_file():
            return normalised(np.load(self.folder / "wordnet_words_384.f16.npy"))
        codes = np.load(self.folder / "wordnet_words_384.i8.npy").astype(np.float32)
        scale = np.load(self.folder / "wordnet_words_scale.f32.npy").reshape(-1, 1)
        noise = np.random.default_rng(seed).random(codes.shape, dtype=np.float32) - 0.5
        return normalised((codes + noise) * scale)

    def hypernym(self) -> np.ndarray | None:
        return np.load(self.folder / "wordnet_hypernym.i32.npy") if self.folder else None


def embed_wordnet(threads: int) -> None:
    """Makes MADE from packages, unless it is there."""
    if (MADE / TEXT).is_file():
        return
    if not (WORDNET / "data.noun").is_file():
        raise SystemExit(f"{WORDNET} is not there: install Debian's wordnet-base (ci/deps bench)")
    python = python_of("embed", "--no-deps")  # one of them would bring a framework of gigabytes
    script = SHIPPED / "embed.py"
    subprocess.run([str(python), str(script), str(WORDNET), str(MADE), "--threads", str(threads)],
                   check=True, env=variables(threads))


def principal(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The `dim` first principal components, of the rows as they are (not centred: the cosine's
    origin stays where it was)."""
    second = np.zeros((vectors.shape[1], vectors.shape[1]))
    for begin in range(0, len(vectors), 8192):
        block = vectors[begin:begin + 8192]
        second += block.T @ block
    _, axes = np.linalg.eigh(second)
    return vectors @ np.ascontiguousarray(axes[:, ::-1][:, :dim], dtype=np.float32)


def derive(sources: Sources, dim: int, seed: int) -> tuple[np.ndarray, str]:
    """All rows of a dimension, and what they were made of."""
    text = sources.text()
    if dim == 384:
        return text, f"{sources.label}: text"
    if dim < 384:
        return normalised(principal(text, dim)), f"{sources.label}: PCA of text to {dim}"
    words = sources.words(seed)
    if words is None:
        raise NoSuchData(f"dimension {dim} needs two embeddings of each row, which the shipped"
                         " set has not: give --data, or run with --make-data once")
    if dim in (512, 768):
        both = normalised(np.concatenate([text, words], axis=1))
        if dim == 768:
            return both, f"{sources.label}: text, words"
        return normalised(principal(both, 512)), f"{sources.label}: PCA of text, words to 512"
    if dim == 1536:
        up = sources.hypernym()
        four = np.concatenate([text, words, text[up], words[up]], axis=1)
        return normalised(four), f"{sources.label}: text and words of row and hypernym"
    raise NoSuchData(f"dimension {dim} is not one of {DIMENSIONS}")


def mix(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows between two real ones: a * x + (1 - a) * y with a in [0.5, 1), and normalised. y is one
    of the 64 rows that follow x in the file, which is sorted by subject, so that the clusters stay
    clusters."""
    rng = np.random.default_rng(seed)
    made = np.empty((count, vectors.shape[1]), dtype=np.float32)
    for begin in range(0, count, 65536):
        end = min(begin + 65536, count)
        first = rng.integers(len(vectors), size=end - begin)
        second = (first + rng.integers(1, 65, size=end - begin)) % len(vectors)
        share = rng.random((end - begin, 1), dtype=np.float32) * 0.5 + 0.5
        made[begin:end] = normalised(share * vectors[first] + (1 - share) * vectors[second])
    return made


def make(wanted: Wanted, sources: Sources, folder: pathlib.Path) -> dict:
    vectors, source = derive(sources, wanted.dim, wanted.seed)
    held = np.sort(np.random.default_rng(wanted.seed).choice(len(vectors), QUERIES, replace=False))
    queries = vectors[held]
    kept = np.delete(vectors, held, axis=0)
    del vectors
    if wanted.mixed:
        kept = mix(kept, MIXED_ROWS, wanted.seed)
        source += f"; {MIXED_ROWS:,} mixtures of two, seed {wanted.seed}"
    rows = np.ascontiguousarray(kept[:wanted.rows])
    np.save(folder / "rows.npy", rows)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "threshold.npy", kth_similarity(rows, queries, K))
    return {"source": source, "count": len(rows)}


def prepare(wanted: Wanted, sources: Sources | None = None,
            cache: pathlib.Path = CACHE) -> Prepared:
    """Makes the set, or finds it again."""
    sources = sources or Sources()
    key = json.dumps([RECIPE, QUERIES, K, sources.label, dataclasses.astuple(wanted)])
    folder = cache / f"{wanted.name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    told = folder / "about.json"
    if not told.is_file():
        making = folder.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        about = make(wanted, sources, making)
        (making / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)
    about = json.loads(told.read_text(encoding="utf-8"))
    return Prepared(wanted.name, about["source"], folder / "rows.npy", folder / "queries.npy",
                    np.load(folder / "threshold.npy"), about["count"], wanted.dim)
