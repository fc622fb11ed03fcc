/* walk.c - the approximate way: route by matrix, walk the graph on int8 codes.
 *
 * The walk is HNSW's search of the ground layer (Malkov & Yashunin, Algorithm 2) from several entry
 * points: the pool is one sorted array of at most ef keys that serves as candidates and as results.
 * A hop copies the row, drops what was visited, prefetches all codes, computes all distances with
 * one gathered call, and inserts the survivors.
 *
 * Searches take no lock. Slots at or beyond the snapshot's count belong to a later epoch and are
 * skipped, so that an ingest in progress costs neither pool room nor correctness.
 */
#include <string.h>

#include "engine/memory.h"
#include "engine/search.h"

/* Fewer do not pay for packing the pivots. */
#define PACK_QUERIES_MIN (OMEN_TRICK_PACKED_PIVOTS ? 4u : UINT32_MAX)
#define MARK_WORDS       (OMEN_CELL_SCAN_MAX / 64)

/* A pool entry is distance << 32 | slot << 1 | expanded: slots have 28 bits, and the flag does not
 * change the order, since no slot is in the pool twice. */
#define EXPANDED ((omen_key)1)

static void gather(struct omen_searcher *s, const uint32_t *slots, uint32_t count);
static void offer_pivots(struct omen_searcher *s, struct omen_query *query, const int32_t *dots,
                         uint32_t first, uint32_t count);
static void enter(struct omen_searcher *s, struct omen_query *query, uint32_t ef);
static void enter_cell(struct omen_searcher *s, struct omen_query *query, uint32_t ef,
                       uint32_t cell);
static uint32_t offer_slots(struct omen_searcher *s, struct omen_query *query, uint32_t ef,
                            const uint32_t *slots, uint32_t count);
static omen_code fit_walk(struct omen_searcher *s, uint32_t slots, uint32_t ef, omen_error *err);
static uint32_t insert(struct omen_searcher *s, uint32_t ef, float distance, uint32_t slot);
static uint32_t expand(struct omen_searcher *s, struct omen_query *query, uint32_t ef, uint32_t at);

static inline omen_key entry_make(float distance, uint32_t slot)
{
    return omen_key_make(distance, slot << 1);
}

static inline bool visit(struct omen_searcher *s, uint32_t slot)
{
    uint64_t bit = (uint64_t)1 << slot % 64;

    if ((s->visited[slot / 64] & bit) != 0) return false;
    s->visited[slot / 64] |= bit;
    s->touched[s->touched_count++] = slot;
    return true;
}

void omen_search_route(struct omen_searcher *s, uint32_t count)
{
    const omen_collection *c = s->collection;
    const struct omen_snapshot *snapshot = s->snapshot;
    const uint8_t *query_codes[OMEN_SEARCH_BLOCK];
    size_t stride = c->graph.stride;

    for (uint32_t i = 0; i < count; i++) {
        struct omen_query *q = &s->queries[i];

        query_codes[i] = s->query_codes + i * stride;
        q->entries = (struct omen_nearest){.keys = q->entry_keys,
                                           .keep = OMEN_SEARCH_ENTRIES,
                                           .capacity = 4 * OMEN_SEARCH_ENTRIES,
                                           .threshold = INFINITY};
        q->visited += snapshot->pivots;
    }
    for (uint32_t from = 0; from < snapshot->pivots; from += OMEN_CELL_SCAN_MAX) {
        uint32_t n = snapshot->pivots - from;
        uint32_t slots[OMEN_CELL_SCAN_MAX];

        if (n > OMEN_CELL_SCAN_MAX) n = OMEN_CELL_SCAN_MAX;
        for (uint32_t i = 0; i < n; i++)
            slots[i] = omen_cells_pivot(&c->cells, from + i);
        gather(s, slots, n);
        if (count >= PACK_QUERIES_MIN) {
            uint32_t filled = (n + OMEN_PACK_GROUP - 1) / OMEN_PACK_GROUP * OMEN_PACK_GROUP;

            c->kernels.pack_i8(s->codes, n, stride, s->packed, s->bias);
            c->kernels.dot_i8_block(query_codes, count, s->packed, s->bias, filled, stride,
                                    s->dots);
            for (uint32_t i = 0; i < count; i++)
                offer_pivots(s, &s->queries[i], s->dots + (size_t)i * filled, from, n);
            continue;
        }
        for (uint32_t i = 0; i < count; i++) {
            struct omen_probe probe = omen_prepared_probe(&s->queries[i].prepared);

            c->kernels.dot_i8_many(s->codes, n, &probe, stride, s->dots);
            offer_pivots(s, &s->queries[i], s->dots, from, n);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        (void)omen_nearest_finish(&s->queries[i].entries);
}

omen_code omen_search_walk(struct omen_searcher *s, struct omen_query *query, uint32_t ef,
                           omen_error *err)
{
    omen_code code = fit_walk(s, s->snapshot->slots, ef, err);
    uint32_t at = 0;

    if (code != OMEN_OK) return code;
    s->pool_count = 0;
    enter(s, query, ef);
    while (at < s->pool_count) {
        if ((s->pool[at] & EXPANDED) != 0) {
            at++;
            continue;
        }
        at = expand(s, query, ef, at);
    }
    for (uint32_t i = 0; i < s->touched_count; i++)
        s->visited[s->touched[i] / 64] = 0;
    query->visited += s->touched_count;
    s->touched_count = 0;
    for (uint32_t i = 0; i < s->pool_count; i++)
        s->pool[i] = omen_key_make(omen_key_distance(s->pool[i]), omen_key_slot(s->pool[i]) >> 1);
    return OMEN_OK;
}

/* Codes, scales and norms of some slots. Under inner product every augmented norm is Phi^2. */
static void gather(struct omen_searcher *s, const uint32_t *slots, uint32_t count)
{
    const omen_collection *c = s->collection;
    const struct omen_snapshot *snapshot = s->snapshot;
    bool augmented = c->settings.metric == OMEN_METRIC_INNER_PRODUCT;

    for (uint32_t i = 0; i < count; i++) {
        struct omen_code_meta meta = *omen_graph_meta(&c->graph, slots[i]);

        s->codes[i] = omen_graph_code(&c->graph, slots[i]);
        s->scales[i] = meta.scale;
        s->norms[i] = augmented ? snapshot->phi_squared : meta.norm;
    }
    for (uint32_t i = count; i % OMEN_PACK_GROUP != 0; i++)
        s->scales[i] = s->norms[i] = 0.0f;
}

static void offer_pivots(struct omen_searcher *s, struct omen_query *query, const int32_t *dots,
                         uint32_t first, uint32_t count)
{
    uint64_t marks[MARK_WORDS];
    const omen_collection *c = s->collection;

    c->kernels.near(query->prepared.meta, dots, s->scales, s->norms, count,
                    query->entries.threshold, s->distances, marks);
    for (uint32_t word = 0; word * 64 < count; word++) {
        for (uint64_t left = marks[word]; left != 0; left &= left - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(left);

            omen_nearest_add(&query->entries, omen_key_make(s->distances[i], first + i));
        }
    }
}

/* The walk starts from the nearest pivots, and from all members of the nearest cells. */
static void enter(struct omen_searcher *s, struct omen_query *query, uint32_t ef)
{
    const omen_collection *c = s->collection;
    const struct omen_snapshot *snapshot = s->snapshot;
    for (uint32_t i = 0; i < query->entries.count; i++) {
        omen_key key = query->entries.keys[i];
        uint32_t slot = omen_cells_pivot(&c->cells, omen_key_slot(key));

        if (slot < snapshot->slots && visit(s, slot))
            (void)insert(s, ef, omen_key_distance(key), slot);
    }
    if (!OMEN_TRICK_CELL_ENTRIES) return;
    for (uint32_t i = 0; i < query->entries.count && i < OMEN_SEARCH_CELLS; i++)
        enter_cell(s, query, ef, omen_key_slot(query->entries.keys[i]));
}

/* A cell is read up to a limit: large ones are rare, and well linked inside but for single points.
 */
static void enter_cell(struct omen_searcher *s, struct omen_query *query, uint32_t ef,
                       uint32_t cell)
{
    const omen_collection *c = s->collection;
    const struct omen_snapshot *snapshot = s->snapshot;
    uint32_t members[OMEN_SEARCH_CELL_MAX];
    uint32_t read = omen_cell_read(omen_cells_cell(&c->cells, cell), members, OMEN_SEARCH_CELL_MAX);
    uint32_t count = 0;

    for (uint32_t i = 0; i < read; i++) {
        if (members[i] < snapshot->slots && visit(s, members[i])) members[count++] = members[i];
    }
    for (uint32_t from = 0; from < count; from += OMEN_CELL_SCAN_MAX) {
        uint32_t left = count - from;

        (void)offer_slots(s, query, ef, members + from,
                          left < OMEN_CELL_SCAN_MAX ? left : OMEN_CELL_SCAN_MAX);
    }
}

/* Distances of up to OMEN_CELL_SCAN_MAX slots, and the near ones into the pool; returns the first
 * place where one went, or ef. */
static uint32_t offer_slots(struct omen_searcher *s, struct omen_query *query, uint32_t ef,
                            const uint32_t *slots, uint32_t count)
{
    const omen_collection *c = s->collection;
    struct omen_probe probe = omen_prepared_probe(&query->prepared);
    uint64_t marks[MARK_WORDS];
    uint32_t first = ef;

    gather(s, slots, count);
    c->kernels.dot_i8_many(s->codes, count, &probe, c->graph.stride, s->dots);
    c->kernels.near(query->prepared.meta, s->dots, s->scales, s->norms, count,
                    s->pool_count < ef ? INFINITY : omen_key_distance(s->pool[ef - 1]),
                    s->distances, marks);
    for (uint32_t word = 0; word * 64 < count; word++) {
        for (uint64_t left = marks[word]; left != 0; left &= left - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(left);
            uint32_t place = insert(s, ef, s->distances[i], slots[i]);

            if (place < first) first = place;
        }
    }
    return first;
}

static omen_code fit_walk(struct omen_searcher *s, uint32_t slots, uint32_t ef, omen_error *err)
{
    if (s->visited_slots < slots) {
        uint32_t room = slots + slots / 2 + 64;
        uint64_t *visited = omen_alloc_zeroed((size_t)(room / 64 + 1) * sizeof *visited);
        uint32_t *touched = omen_alloc((size_t)room * sizeof *touched);

        omen_free(s->visited);
        omen_free(s->touched);
        s->visited = visited;
        s->touched = touched;
        s->visited_slots = visited != NULL && touched != NULL ? room : 0;
    }
    if (s->pool_capacity < ef + 1) {
        omen_free(s->pool);
        s->pool = omen_alloc((ef + 1) * sizeof *s->pool);
        s->pool_capacity = s->pool != NULL ? ef + 1 : 0;
    }
    if (s->visited_slots >= slots && s->pool_capacity > ef) return OMEN_OK;
    return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a walk over %u slots", slots);
}

/* Puts a slot into the sorted pool, if it is near enough; returns its place, or ef. */
static uint32_t insert(struct omen_searcher *s, uint32_t ef, float distance, uint32_t slot)
{
    omen_key key = entry_make(distance, slot);
    uint32_t low = 0;
    uint32_t high = s->pool_count;

    if (s->pool_count == ef && key >= s->pool[ef - 1]) return ef;
    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (s->pool[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    if (s->pool_count < ef) s->pool_count++;
    memmove(s->pool + low + 1, s->pool + low, (s->pool_count - 1 - low) * sizeof *s->pool);
    s->pool[low] = key;
    return low;
}

/* One hop from pool entry `at`; returns where the next unexpanded entry may be. */
static uint32_t expand(struct omen_searcher *s, struct omen_query *query, uint32_t ef, uint32_t at)
{
    const struct omen_snapshot *snapshot = s->snapshot;
    const struct omen_graph *graph = &s->collection->graph;
    uint32_t links[OMEN_ROW_LINKS];
    uint32_t fresh[OMEN_ROW_LINKS];
    uint32_t count = 0;
    uint32_t next = at + 1;
    uint32_t degree = omen_row_read(omen_graph_row(graph, omen_key_slot(s->pool[at]) >> 1), links);

    s->pool[at] |= EXPANDED;
    for (uint32_t i = 0; i < degree; i++) {
        if (links[i] >= snapshot->slots || !visit(s, links[i])) continue;
        omen_graph_prefetch_code(graph, links[i]);
        fresh[count++] = links[i];
    }
    if (next < s->pool_count) omen_graph_prefetch_row(graph, omen_key_slot(s->pool[next]) >> 1);
    if (count > 0) {
        uint32_t place = offer_slots(s, query, ef, fresh, count);

        if (place < next) next = place;
    }
    return next;
}
