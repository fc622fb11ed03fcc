/* regions.c - see regions.h. */
#include "engine/regions.h"

#include <string.h>

#include "engine/memory.h"

#define ROWS_AT_FIRST 32u

/* A table is made again when one row in so many is stale. */
#define STALE_SHARE 4u

/* Pivots that are compared with tops in one go. */
#define TILE 32u

/* What an update works with. */
struct update {
    struct omen_regions *regions;
    const struct omen_cells *cells;
    const struct omen_graph *graph;
    const struct omen_kernels *kernels;
    float phi_squared;
    uint32_t first; /* pivots from here on are new */
    /* The tops' table: the one that readers see, or one that they will see when it is complete. */
    struct omen_region *_Atomic tops;
    omen_error *err;
};

static omen_code fit_homes(struct update *u);
static omen_code add_tops(struct update *u);
static omen_code add_top(struct update *u, uint32_t pivot);
static omen_code take_over(struct update *u, uint32_t top_pivot, struct omen_region *_Atomic *into);
static omen_code leave_out(struct update *u, uint32_t region);
static omen_code find_homes(struct update *u);
static void find_homes_of(struct update *u, const struct omen_region *tops, uint32_t first,
                          uint32_t count);
static omen_code add_row(struct update *u, struct omen_region *_Atomic *table, uint32_t pivot,
                         struct omen_region *region);
static struct omen_region *make_table(uint32_t capacity, size_t stride, bool of_tops);
static uint32_t top_count(const struct update *u);
static void retire_all(struct omen_regions *regions, struct omen_region *tops);
static void retire(struct omen_regions *regions, struct omen_region *table);

void omen_regions_deinit(struct omen_regions *regions)
{
    retire_all(regions, atomic_load_explicit(&regions->tops, memory_order_relaxed));
    omen_regions_recycle(regions);
    omen_free(regions->homes);
    omen_free(regions->home_distances);
    memset(regions, 0, sizeof *regions);
}

omen_code omen_regions_update(struct omen_regions *regions, const struct omen_cells *cells,
                              const struct omen_graph *graph, const struct omen_kernels *kernels,
                              float phi_squared, omen_error *err)
{
    struct update u = {.regions = regions,
                       .cells = cells,
                       .graph = graph,
                       .kernels = kernels,
                       .phi_squared = phi_squared,
                       .err = err};
    omen_code code;

    struct omen_region *shown = atomic_load_explicit(&regions->tops, memory_order_relaxed);

    if (regions->phi_squared != phi_squared) regions->known = 0;
    regions->phi_squared = phi_squared;
    if (regions->known == cells->count && shown != NULL) return OMEN_OK;
    u.first = regions->known;
    atomic_init(&u.tops, u.first == 0 ? NULL : shown);
    code = fit_homes(&u);
    if (code == OMEN_OK) code = add_tops(&u);
    if (code == OMEN_OK && top_count(&u) > 0) code = find_homes(&u);
    if (code != OMEN_OK) {
        regions->known = 0;
        if (u.first == 0)
            retire_all(regions, atomic_load(&u.tops));
        else /* the table that was shown may have been replaced */
            atomic_store_explicit(&regions->tops, atomic_load(&u.tops), memory_order_release);
        return code;
    }
    atomic_store_explicit(&regions->tops, atomic_load(&u.tops), memory_order_release);
    if (u.first == 0) retire_all(regions, shown);
    if (top_count(&u) > 0) regions->known = cells->count;
    return OMEN_OK;
}

void omen_regions_forget(struct omen_regions *regions)
{
    regions->known = 0;
}

void omen_regions_recycle(struct omen_regions *regions)
{
    while (regions->retired != NULL) {
        struct omen_region *table = regions->retired;

        regions->retired = table->retired;
        omen_free(table);
    }
}

omen_code omen_regions_check(const struct omen_regions *regions, const struct omen_cells *cells,
                             const struct omen_graph *graph, const struct omen_kernels *kernels,
                             omen_error *err)
{
    const struct omen_region *tops = omen_regions_tops(regions);
    struct omen_regions again = {.retired = NULL};
    uint32_t rows = 0;
    omen_code code = OMEN_OK;

    if (tops == NULL) return OMEN_OK;
    code = omen_regions_update(&again, cells, graph, kernels, regions->phi_squared, err);
    for (uint32_t p = 0; code == OMEN_OK && p < cells->count; p++) {
        if (p >= regions->known || regions->homes[p] != again.homes[p])
            code = omen_fail(err, OMEN_INTERNAL, "pivot %u of %u is not in region %u", p,
                             cells->count, again.homes[p]);
    }
    for (uint32_t r = 0; code == OMEN_OK && r < tops->count; r++) {
        const struct omen_region *region = omen_regions_region(tops, r);

        rows += region->count - region->stale;
        for (uint32_t i = 0; code == OMEN_OK && i < region->count; i++) {
            uint32_t pivot = region->pivots[i];

            if (pivot >= cells->count ||
                memcmp(region->codes + i * graph->stride,
                       omen_graph_code(graph, omen_cells_pivot(cells, pivot)), graph->stride) != 0)
                code = omen_fail(err, OMEN_INTERNAL, "row %u of region %u is not pivot %u", i, r,
                                 pivot);
        }
    }
    if (code == OMEN_OK && rows != cells->count)
        code = omen_fail(err, OMEN_INTERNAL, "%u rows of %u pivots in regions", rows, cells->count);
    omen_regions_deinit(&again);
    return code;
}

uint64_t omen_regions_bytes(const struct omen_regions *regions, size_t stride)
{
    const struct omen_region *tops = omen_regions_tops(regions);
    uint32_t count = omen_region_count(tops);
    uint64_t rows = tops == NULL ? 0 : tops->capacity;

    for (uint32_t i = 0; i < count; i++)
        rows += omen_regions_region(tops, i)->capacity;
    return rows * (stride + 2 * sizeof(float) + sizeof(uint32_t)) +
           regions->capacity * (sizeof(uint32_t) + sizeof(float));
}

static omen_code fit_homes(struct update *u)
{
    struct omen_regions *regions = u->regions;
    uint32_t capacity = u->cells->count + u->cells->count / 2 + 64;
    uint32_t *homes;
    float *distances;

    if (regions->capacity >= u->cells->count) return OMEN_OK;
    homes = omen_realloc(regions->homes, capacity * sizeof *homes);
    if (homes != NULL) regions->homes = homes;
    distances = omen_realloc(regions->home_distances, capacity * sizeof *distances);
    if (distances != NULL) regions->home_distances = distances;
    if (homes == NULL || distances == NULL)
        return omen_fail(u->err, OMEN_RESOURCE_EXHAUSTED, "the regions of %u pivots", capacity);
    regions->capacity = capacity;
    return OMEN_OK;
}

static float distance_of(const struct update *u, struct omen_code_meta a, struct omen_code_meta b,
                         int32_t dot)
{
    return omen_code_distance(a, b, dot) + omen_code_augment(u->phi_squared, a.norm, b.norm);
}

/* New tops come first, and take over from the old ones; then new pivots choose among all. */
static omen_code add_tops(struct update *u)
{
    omen_code code = OMEN_OK;

    for (uint32_t i = u->first; i < u->cells->count && code == OMEN_OK; i++) {
        if (omen_slot_hashes_to_top(omen_cells_pivot(u->cells, i))) code = add_top(u, i);
    }
    return code;
}

/* The region is filled before the top is shown. */
static omen_code add_top(struct update *u, uint32_t pivot)
{
    struct omen_region *region = make_table(ROWS_AT_FIRST, u->graph->stride, false);
    omen_code code = OMEN_OK;
    struct omen_region *_Atomic made;

    if (region == NULL)
        return omen_fail(u->err, OMEN_RESOURCE_EXHAUSTED, "region %u", top_count(u));
    atomic_init(&made, region);
    code = take_over(u, pivot, &made);
    if (code == OMEN_OK) code = add_row(u, &u->tops, pivot, atomic_load(&made));
    if (code != OMEN_OK) retire(u->regions, atomic_load(&made));
    return code;
}

/* Pivots with a region that are nearer to the new top leave for it. */
static omen_code take_over(struct update *u, uint32_t top_pivot, struct omen_region *_Atomic *into)
{
    struct omen_regions *regions = u->regions;
    const struct omen_region *tops = atomic_load_explicit(&u->tops, memory_order_relaxed);
    uint32_t top = top_count(u);
    uint32_t top_slot = omen_cells_pivot(u->cells, top_pivot);
    struct omen_code_meta top_meta = *omen_graph_meta(u->graph, top_slot);
    int8_t values[OMEN_DIM_MAX] __attribute__((aligned(64)));
    struct omen_prepared prepared = {.values = values};
    struct omen_probe probe;
    omen_code code = OMEN_OK;

    omen_code_prepare(u->kernels, omen_graph_code(u->graph, top_slot), top_meta, &prepared);
    probe = omen_prepared_probe(&prepared);
    for (uint32_t region = 0; region < top && code == OMEN_OK; region++) {
        struct omen_region *r = atomic_load_explicit(&tops->regions[region], memory_order_relaxed);
        uint32_t other_slot = omen_cells_pivot(u->cells, tops->pivots[region]);

        for (uint32_t i = 0; i < r->count && code == OMEN_OK; i++) {
            uint32_t pivot = r->pivots[i];
            struct omen_code_meta meta = {r->scales[i], r->norms[i]};
            float d = distance_of(
                u, meta, top_meta,
                u->kernels->dot_i8_one(r->codes + i * u->graph->stride, &probe, u->graph->stride));

            if (regions->homes[pivot] != region || d > regions->home_distances[pivot] ||
                (d == regions->home_distances[pivot] && top_slot > other_slot))
                continue;
            regions->homes[pivot] = top;
            regions->home_distances[pivot] = d;
            code = add_row(u, into, pivot, NULL);
            r->stale++;
        }
        if (code == OMEN_OK && r->stale > 0 && r->stale * STALE_SHARE >= r->count)
            code = leave_out(u, region);
    }
    return code;
}

/* Makes the region's table again, without stale rows. */
static omen_code leave_out(struct update *u, uint32_t region)
{
    struct omen_regions *regions = u->regions;
    struct omen_region *tops = atomic_load_explicit(&u->tops, memory_order_relaxed);
    struct omen_region *old = atomic_load_explicit(&tops->regions[region], memory_order_relaxed);
    struct omen_region *table = make_table(old->capacity, u->graph->stride, false);
    omen_code code = OMEN_OK;
    struct omen_region *_Atomic made;

    if (table == NULL) return omen_fail(u->err, OMEN_RESOURCE_EXHAUSTED, "region %u", region);
    atomic_init(&made, table);
    for (uint32_t i = 0; i < old->count && code == OMEN_OK; i++) {
        if (regions->homes[old->pivots[i]] == region)
            code = add_row(u, &made, old->pivots[i], NULL);
    }
    atomic_store_explicit(&tops->regions[region], atomic_load(&made), memory_order_release);
    retire(regions, old);
    return code;
}

static omen_code find_homes(struct update *u)
{
    struct omen_regions *regions = u->regions;
    struct omen_region *tops = atomic_load_explicit(&u->tops, memory_order_relaxed);
    omen_code code = OMEN_OK;

    for (uint32_t first = u->first; first < u->cells->count; first += TILE) {
        uint32_t left = u->cells->count - first;

        find_homes_of(u, tops, first, left < TILE ? left : TILE);
    }
    for (uint32_t i = u->first; i < u->cells->count && code == OMEN_OK; i++)
        code = add_row(u, &tops->regions[regions->homes[i]], i, NULL);
    return code;
}

static void find_homes_of(struct update *u, const struct omen_region *tops, uint32_t first,
                          uint32_t count)
{
    struct omen_regions *regions = u->regions;
    size_t stride = u->graph->stride;

    for (uint32_t p = first; p < first + count; p++) {
        uint32_t slot = omen_cells_pivot(u->cells, p);
        struct omen_code_meta meta = *omen_graph_meta(u->graph, slot);
        int8_t values[OMEN_DIM_MAX] __attribute__((aligned(64)));
        struct omen_prepared prepared = {.values = values};
        struct omen_probe probe;
        omen_key best = OMEN_KEY_NONE; /* distance and the top's slot */

        omen_code_prepare(u->kernels, omen_graph_code(u->graph, slot), meta, &prepared);
        probe = omen_prepared_probe(&prepared);
        for (uint32_t t = 0; t < tops->count; t += TILE) {
            uint32_t n = tops->count - t < TILE ? tops->count - t : TILE;
            const uint8_t *codes[TILE];
            int32_t dots[TILE];

            for (uint32_t i = 0; i < n; i++)
                codes[i] = tops->codes + (t + i) * stride;
            u->kernels->dot_i8_many(codes, n, &probe, stride, dots);
            for (uint32_t i = 0; i < n; i++) {
                struct omen_code_meta other = {tops->scales[t + i], tops->norms[t + i]};
                omen_key key = omen_key_make(distance_of(u, meta, other, dots[i]),
                                             omen_cells_pivot(u->cells, tops->pivots[t + i]));

                if (key >= best) continue;
                best = key;
                regions->homes[p] = t + i;
                regions->home_distances[p] = omen_key_distance(key);
            }
        }
    }
}

/* Adds a pivot's row to a table, which is copied if it is full (or made, if it is NULL). A top's
 * row has its region. */
static omen_code add_row(struct update *u, struct omen_region *_Atomic *table, uint32_t pivot,
                         struct omen_region *region)
{
    struct omen_region *t = atomic_load_explicit(table, memory_order_relaxed);
    uint32_t slot = omen_cells_pivot(u->cells, pivot);
    struct omen_code_meta meta = *omen_graph_meta(u->graph, slot);
    size_t stride = u->graph->stride;
    uint32_t count = omen_region_count(t);

    if (t == NULL || count == t->capacity) {
        struct omen_region *more =
            make_table(count == 0 ? ROWS_AT_FIRST : 2 * count, stride, region != NULL);

        if (more == NULL)
            return omen_fail(u->err, OMEN_RESOURCE_EXHAUSTED, "rows for %u pivots", count + 1);
        if (t != NULL) {
            more->stale = t->stale;
            memcpy(more->codes, t->codes, count * stride);
            memcpy(more->pivots, t->pivots, count * sizeof *t->pivots);
            memcpy(more->scales, t->scales, count * sizeof *t->scales);
            memcpy(more->norms, t->norms, count * sizeof *t->norms);
            for (uint32_t i = 0; region != NULL && i < count; i++)
                atomic_init(&more->regions[i], atomic_load(&t->regions[i]));
            retire(u->regions, t);
        }
        atomic_store_explicit(&more->count, count, memory_order_relaxed);
        atomic_store_explicit(table, more, memory_order_release);
        t = more;
    }
    memcpy(t->codes + count * stride, omen_graph_code(u->graph, slot), stride);
    t->pivots[count] = pivot;
    t->scales[count] = meta.scale;
    t->norms[count] = meta.norm;
    if (region != NULL) atomic_init(&t->regions[count], region);
    atomic_store_explicit(&t->count, count + 1, memory_order_release);
    return OMEN_OK;
}

/* The arrays follow the struct, each from a cache line on; metas are zero, and may be read up to
 * the capacity (kernels.h: near). */
static struct omen_region *make_table(uint32_t capacity, size_t stride, bool of_tops)
{
    size_t head = (sizeof(struct omen_region) + 63) / 64 * 64;
    size_t metas = capacity * sizeof(float);
    size_t regions = of_tops ? capacity * sizeof(struct omen_region *) : 0;
    struct omen_region *table = omen_alloc_aligned(head + 3 * metas + regions + capacity * stride);
    char *at = (char *)table + head;

    if (table == NULL) return NULL;
    memset(table, 0, head + 3 * metas + regions);
    table->capacity = capacity;
    table->scales = (float *)(void *)at;
    table->norms = (float *)(void *)(at + metas);
    table->pivots = (uint32_t *)(void *)(at + 2 * metas);
    table->regions = (void *)(at + 3 * metas);
    table->codes = (uint8_t *)(at + 3 * metas + regions);
    return table;
}

static uint32_t top_count(const struct update *u)
{
    return omen_region_count(atomic_load_explicit(&u->tops, memory_order_relaxed));
}

/* A tops' table and its regions. */
static void retire_all(struct omen_regions *regions, struct omen_region *tops)
{
    uint32_t count = omen_region_count(tops);

    if (tops == NULL) return;
    for (uint32_t i = 0; i < count; i++)
        retire(regions, atomic_load_explicit(&tops->regions[i], memory_order_relaxed));
    retire(regions, tops);
}

static void retire(struct omen_regions *regions, struct omen_region *table)
{
    table->retired = regions->retired;
    regions->retired = table;
}
