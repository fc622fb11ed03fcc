/* searcher.c - one search thread's buffers; see search.h. */
#include <string.h>

#include "engine/memory.h"
#include "engine/search.h"

static void free_fitted(struct omen_searcher *s);

omen_code omen_searcher_create(struct omen_searcher **out, omen_error *err)
{
    struct omen_searcher *s = omen_alloc_zeroed(sizeof *s);

    *out = NULL;
    if (s == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a search thread's buffers");
    s->queries = omen_alloc_zeroed(OMEN_SEARCH_BLOCK * sizeof *s->queries);
    s->walks = omen_alloc_zeroed(OMEN_SEARCH_WALKS * sizeof *s->walks);
    s->codes = omen_alloc(OMEN_CELL_SCAN_MAX * sizeof *s->codes);
    s->bias = omen_alloc_aligned(OMEN_CELL_SCAN_MAX * sizeof *s->bias);
    s->scales = omen_alloc_aligned(OMEN_CELL_SCAN_MAX * sizeof *s->scales);
    s->norms = omen_alloc_aligned(OMEN_CELL_SCAN_MAX * sizeof *s->norms);
    s->distances = omen_alloc_aligned(OMEN_CELL_SCAN_MAX * sizeof *s->distances);
    s->dots = omen_alloc_aligned(OMEN_SEARCH_BLOCK * OMEN_CELL_SCAN_MAX * sizeof *s->dots);
    s->tile = omen_alloc_aligned(OMEN_SEARCH_BLOCK * OMEN_SCAN_ROWS * sizeof *s->tile);
    if (s->queries == NULL || s->walks == NULL || s->codes == NULL || s->bias == NULL ||
        s->scales == NULL || s->norms == NULL || s->distances == NULL || s->dots == NULL ||
        s->tile == NULL) {
        omen_searcher_destroy(s);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a search thread's buffers");
    }
    *out = s;
    return OMEN_OK;
}

void omen_searcher_destroy(struct omen_searcher *s)
{
    if (s == NULL) return;
    free_fitted(s);
    omen_free(s->queries);
    omen_free(s->codes);
    omen_free(s->bias);
    omen_free(s->scales);
    omen_free(s->norms);
    omen_free(s->distances);
    omen_free(s->dots);
    omen_free(s->tile);
    omen_free(s->wide);
    for (uint32_t i = 0; s->walks != NULL && i < OMEN_SEARCH_WALKS; i++) {
        omen_free(s->walks[i].visited);
        omen_free(s->walks[i].touched);
        omen_free(s->walks[i].pool);
    }
    omen_free(s->walks);
    omen_free(s->heads);
    omen_free(s->hits);
    omen_free(s);
}

omen_code omen_searcher_fit(struct omen_searcher *s, size_t stride, omen_error *err)
{
    if (s->stride >= stride) return OMEN_OK;
    free_fitted(s);
    s->query_codes = omen_alloc_aligned(OMEN_SEARCH_BLOCK * stride);
    s->query_values = omen_alloc_aligned(OMEN_SEARCH_BLOCK * stride);
    s->packed = omen_alloc_aligned(OMEN_CELL_SCAN_MAX * stride);
    if (s->query_codes == NULL || s->query_values == NULL || s->packed == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a search thread's buffers");
    s->stride = stride;
    return OMEN_OK;
}

omen_code omen_searcher_fit_wide(struct omen_searcher *s, const struct omen_originals *originals,
                                 omen_error *err)
{
    const size_t floats = omen_original_floats(originals);

    if (!originals->half || s->wide_floats >= floats) return OMEN_OK;
    omen_free(s->wide);
    s->wide_floats = 0;
    s->wide = omen_alloc_aligned(OMEN_SCAN_ROWS * floats * sizeof *s->wide);
    if (s->wide == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a search thread's buffers");
    s->wide_floats = floats;
    return OMEN_OK;
}

omen_code omen_searcher_fit_hits(struct omen_searcher *s, size_t hits, omen_error *err)
{
    if (s->hit_capacity >= hits) return OMEN_OK;
    omen_free(s->hits);
    s->hit_capacity = 0;
    s->hits = omen_alloc(hits * sizeof *s->hits);
    if (s->hits == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%zu hits", hits);
    s->hit_capacity = hits;
    return OMEN_OK;
}

static void free_fitted(struct omen_searcher *s)
{
    omen_free(s->query_codes);
    omen_free(s->query_values);
    omen_free(s->packed);
    s->query_codes = NULL;
    s->query_values = s->packed = NULL;
    s->stride = 0;
}
