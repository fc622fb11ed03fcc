/* search_route.c - which cells a block of queries enters the graph by.
 *
 * With regions (regions.h) each query is compared with all tops, and then with the pivots of the
 * nearest regions, whose codes lie one after the other. Without tops it is one matrix, queries x
 * pivots. Readers see the pivots that were published with their snapshot, and perhaps newer ones:
 * the walk drops their slots, and their cells may be read.
 */
#include "engine/search.h"

/* Fewer do not pay for packing. */
#define PACK_QUERIES_MIN (OMEN_TRICK_PACKED_PIVOTS ? 4u : UINT32_MAX)
#define MARK_WORDS       (OMEN_CELL_SCAN_MAX / 64)

/* What queries are compared with. */
struct rows {
    uint32_t count; /* up to OMEN_CELL_SCAN_MAX; the codes are in searcher->codes */
    const float *scales, *norms;
    const uint32_t *names; /* what the keys say; NULL: their number, from `first` on */
    uint32_t first;
};

static void route_flat(struct omen_searcher *s, uint32_t count);
static void route_regions(struct omen_searcher *s, const struct omen_region *tops, uint32_t count);
static void enter_regions(struct omen_searcher *s, const struct omen_region *tops,
                          struct omen_query *query);
static void take_rows(struct omen_searcher *s, const struct omen_region *region, uint32_t from,
                      uint32_t count, struct rows *out);
static void compare_block(struct omen_searcher *s, uint32_t count, const struct rows *rows);
static void compare(struct omen_searcher *s, struct omen_query *query, const struct rows *rows);
static void offer(struct omen_searcher *s, struct omen_query *query, const int32_t *dots,
                  const struct rows *rows);
static uint32_t region_count_for(const struct omen_region *tops);
static void begin(struct omen_query *query, uint32_t keep);
static void finish(struct omen_nearest *entries);

void omen_search_route(struct omen_searcher *s, uint32_t count)
{
    const struct omen_region *tops = omen_regions_tops(&s->collection->regions);

    for (uint32_t i = 0; i < count; i++)
        begin(&s->queries[i], tops == NULL ? OMEN_SEARCH_ENTRIES : region_count_for(tops));
    if (tops == NULL)
        route_flat(s, count);
    else
        route_regions(s, tops, count);
    for (uint32_t i = 0; i < count; i++)
        finish(&s->queries[i].entries);
}

/* Sorts; a pivot that stands in two regions is entered once. */
static void finish(struct omen_nearest *entries)
{
    uint32_t count = omen_nearest_finish(entries);
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || entries->keys[i] != entries->keys[kept - 1])
            entries->keys[kept++] = entries->keys[i];
    }
    entries->count = kept;
}

static void route_flat(struct omen_searcher *s, uint32_t count)
{
    const omen_collection *c = s->collection;
    uint32_t pivots = s->snapshot->pivots;

    for (uint32_t i = 0; i < count; i++)
        s->queries[i].visited += pivots;
    for (uint32_t from = 0; from < pivots; from += OMEN_CELL_SCAN_MAX) {
        uint32_t slots[OMEN_CELL_SCAN_MAX];
        struct rows rows = {
            .count = pivots - from, .scales = s->scales, .norms = s->norms, .first = from};

        if (rows.count > OMEN_CELL_SCAN_MAX) rows.count = OMEN_CELL_SCAN_MAX;
        for (uint32_t i = 0; i < rows.count; i++)
            slots[i] = omen_cells_pivot(&c->cells, from + i);
        omen_search_gather(s, slots, rows.count);
        compare_block(s, count, &rows);
    }
}

static void route_regions(struct omen_searcher *s, const struct omen_region *tops, uint32_t count)
{
    uint32_t top_count = omen_region_count(tops);

    for (uint32_t from = 0; from < top_count; from += OMEN_CELL_SCAN_MAX) {
        struct rows rows;

        take_rows(s, tops, from, top_count, &rows);
        rows.names = NULL;
        rows.first = from;
        compare_block(s, count, &rows);
    }
    for (uint32_t i = 0; i < count; i++) {
        s->queries[i].visited += top_count;
        enter_regions(s, tops, &s->queries[i]);
    }
}

/* From the nearest regions to the nearest pivots in them. */
static void enter_regions(struct omen_searcher *s, const struct omen_region *tops,
                          struct omen_query *query)
{
    uint32_t regions[OMEN_SEARCH_REGIONS_MAX];
    uint32_t region_count;

    omen_nearest_cut(&query->entries);
    region_count = query->entries.count;
    for (uint32_t i = 0; i < region_count; i++)
        regions[i] = omen_key_slot(query->entries.keys[i]);
    begin(query, OMEN_SEARCH_ENTRIES);
    for (uint32_t i = 0; i < region_count; i++) {
        const struct omen_region *region = omen_regions_region(tops, regions[i]);
        uint32_t count = omen_region_count(region);

        query->visited += count;
        for (uint32_t from = 0; from < count; from += OMEN_CELL_SCAN_MAX) {
            struct rows rows;

            take_rows(s, region, from, count, &rows);
            compare(s, query, &rows);
        }
    }
}

/* Rows of a table from `from` on, as many as go together. Scales and norms are copied: kernels read
 * whole groups of them, and a row beyond the count may be under way. Under inner product every
 * augmented norm is Phi^2. */
static void take_rows(struct omen_searcher *s, const struct omen_region *region, uint32_t from,
                      uint32_t count, struct rows *out)
{
    const omen_collection *c = s->collection;
    bool augmented = c->settings.metric == OMEN_METRIC_INNER_PRODUCT;
    uint32_t n = count - from < OMEN_CELL_SCAN_MAX ? count - from : OMEN_CELL_SCAN_MAX;

    for (uint32_t i = 0; i < n; i++) {
        s->codes[i] = region->codes + (from + i) * c->graph.stride;
        s->scales[i] = region->scales[from + i];
        s->norms[i] = augmented ? s->snapshot->phi_squared : region->norms[from + i];
    }
    for (uint32_t i = n; i % OMEN_PACK_GROUP != 0; i++)
        s->scales[i] = s->norms[i] = 0.0f;
    *out = (struct rows){
        .count = n, .scales = s->scales, .norms = s->norms, .names = region->pivots + from};
}

static void compare_block(struct omen_searcher *s, uint32_t count, const struct rows *rows)
{
    const omen_collection *c = s->collection;
    const uint8_t *query_codes[OMEN_SEARCH_BLOCK];
    uint32_t filled = (rows->count + OMEN_PACK_GROUP - 1) / OMEN_PACK_GROUP * OMEN_PACK_GROUP;
    size_t stride = c->graph.stride;

    if (count < PACK_QUERIES_MIN) {
        for (uint32_t i = 0; i < count; i++)
            compare(s, &s->queries[i], rows);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        query_codes[i] = s->query_codes + i * stride;
    c->kernels.pack_i8(s->codes, rows->count, stride, s->packed, s->bias);
    c->kernels.dot_i8_block(query_codes, count, s->packed, s->bias, filled, stride, s->dots);
    for (uint32_t i = 0; i < count; i++)
        offer(s, &s->queries[i], s->dots + (size_t)i * filled, rows);
}

static void compare(struct omen_searcher *s, struct omen_query *query, const struct rows *rows)
{
    const omen_collection *c = s->collection;
    struct omen_probe probe = omen_prepared_probe(&query->prepared);

    c->kernels.dot_i8_many(s->codes, rows->count, &probe, c->graph.stride, s->dots);
    offer(s, query, s->dots, rows);
}

static void offer(struct omen_searcher *s, struct omen_query *query, const int32_t *dots,
                  const struct rows *rows)
{
    uint64_t marks[MARK_WORDS];

    s->collection->kernels.near(query->prepared.meta, dots, rows->scales, rows->norms, rows->count,
                                query->entries.threshold, s->distances, marks);
    for (uint32_t word = 0; word * 64 < rows->count; word++) {
        for (uint64_t left = marks[word]; left != 0; left &= left - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(left);
            uint32_t name = rows->names == NULL ? rows->first + i : rows->names[i];

            omen_nearest_add(&query->entries, omen_key_make(s->distances[i], name));
        }
    }
}

/* Few regions are large beside the clusters of their points, and a query's cluster may lie in one
 * that is far by its top: 14 of 385,000 rows missed themselves with four of fifteen regions
 * (ef 128, 100 clusters), none with all. Sixteen tops: sixteen regions; from 64 on four. */
static uint32_t region_count_for(const struct omen_region *tops)
{
    uint32_t top_count = omen_region_count(tops);
    uint32_t count;

    if (top_count <= OMEN_SEARCH_REGIONS_MAX) return OMEN_SEARCH_REGIONS_MAX;
    count = OMEN_SEARCH_REGIONS_MAX * OMEN_SEARCH_REGIONS_MAX / top_count;
    return count < OMEN_SEARCH_REGIONS_MIN ? OMEN_SEARCH_REGIONS_MIN : count;
}

static void begin(struct omen_query *query, uint32_t keep)
{
    query->entries = (struct omen_nearest){.keys = query->entry_keys,
                                           .keep = keep,
                                           .capacity = 4 * OMEN_SEARCH_ENTRIES,
                                           .threshold = INFINITY};
}
