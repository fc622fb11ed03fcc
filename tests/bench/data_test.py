"""The data sets: real rows of unit length, cut and mixed by a seed; no query is in the index."""
import numpy as np
import pytest
from comparison import data
from ground_truth import recall

ROWS = 1600


@pytest.fixture
def sources(tmp_path):
    """A folder as shared/data is, with fewer rows."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "given"
    folder.mkdir()
    text = data.normalised(rng.standard_normal((ROWS, 384)))
    codes = rng.integers(-127, 128, size=(ROWS, 384), dtype=np.int8)
    np.save(folder / data.TEXT, text.astype(np.float16))
    np.save(folder / "wordnet_words_384.i8.npy", codes)
    np.save(folder / "wordnet_words_scale.f32.npy", np.full(ROWS, 0.01, dtype=np.float32))
    np.save(folder / "wordnet_hypernym.i32.npy", (np.arange(ROWS, dtype=np.int32) + 7) % ROWS)
    return data.Sources(folder, tmp_path / "nothing")


@pytest.mark.parametrize("dim", data.DIMENSIONS)
def test_each_dimension_has_unit_rows_and_held_out_queries(sources, tmp_path, dim):
    made = data.prepare(data.Wanted(dim), sources, tmp_path / "cache")
    rows, queries = made.rows(), made.queries()
    assert rows.shape == (ROWS - data.QUERIES, dim) and queries.shape == (data.QUERIES, dim)
    for vectors in (rows, queries):
        assert vectors.dtype == np.float32
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert (queries @ rows.T).max() < 0.999  # no query is a row


def test_the_threshold_is_that_of_the_exact_answers(sources, tmp_path):
    made = data.prepare(data.Wanted(128), sources, tmp_path / "cache")
    nearest = np.argsort(-(made.queries() @ made.rows().T), axis=1)[:, :data.K]
    assert recall(made.rows(), made.queries(), nearest, data.K, made.threshold) == 1.0
    nearest[:, 0] = nearest[:, 1]  # one of ten twice: it counts once
    assert recall(made.rows(), made.queries(), nearest, data.K, made.threshold) == pytest.approx(
        0.9)


def test_a_set_is_made_once_and_the_same_from_the_same_seed(sources, tmp_path):
    first = data.prepare(data.Wanted(768), sources, tmp_path / "a")
    again = data.prepare(data.Wanted(768), sources, tmp_path / "b")
    other = data.prepare(data.Wanted(768, seed=2), sources, tmp_path / "a")
    assert (first.rows() == again.rows()).all()
    assert not (first.queries() == other.queries()).all()
    before = first.rows_path.stat().st_mtime_ns
    assert data.prepare(data.Wanted(768), sources, tmp_path / "a").rows_path == first.rows_path
    assert first.rows_path.stat().st_mtime_ns == before


def test_principal_components_keep_the_most_of_the_similarities(sources):
    rng = np.random.default_rng(5)
    flat = data.normalised(rng.standard_normal((500, 8)) @ rng.standard_normal((8, 384)))
    small = data.normalised(data.principal(flat, 8))
    assert np.abs(flat @ flat.T - small @ small.T).max() < 1e-4


def test_mixtures_lie_between_two_real_rows(sources):
    real = sources.text()
    made = data.mix(real, 3000, seed=1)
    assert np.abs(np.linalg.norm(made, axis=1) - 1).max() < 1e-5
    assert (made == data.mix(real, 3000, seed=1)).all()
    # The nearer of the two has at least half of the weight; random rows are nearly at right angles,
    # so a half is a cosine of about 0.7, and a row of no mixture would have less than 0.3.
    assert (made @ real.T).max(axis=1).min() > 0.6


def test_without_the_full_set_the_shipped_one_serves_up_to_384(tmp_path):
    sources = data.Sources(tmp_path / "nothing", tmp_path / "nothing")
    made = data.prepare(data.Wanted(384, 500), sources, tmp_path / "cache")
    assert made.rows().shape == (500, 384) and "bench/datasets/wordnet" in made.source
    with pytest.raises(data.NoSuchData, match="768"):
        data.prepare(data.Wanted(768), sources, tmp_path / "cache")
