/* walk.c - the approximate way: walk the graph on int8 codes.
 *
 * The walk is HNSW's search of the ground layer (Malkov & Yashunin, Algorithm 2) from several entry
 * points: the pool is one sorted array that serves as candidates and as results. A hop copies the
 * row, drops what was visited, prefetches, computes all distances with one gathered call, and
 * inserts those that are near enough. Some members of the cells that the walk enters by are looked
 * at in the same way: a tight group of points that nothing links to has a member there.
 *
 * It ends differently. A pool of ef takes an easy query as far as a hard one; this walk ends when
 * nothing is left that is nearer than (1 + slack) times the n-th nearest so far (squared distances;
 * Al-Jazzazi et al., Distance Adaptive Beam Search for Provably Accurate Graph-Based Nearest
 * Neighbor Search, 2025). Decision 8 says how slack follows from ef. OMEN_SEARCH_POOL times ef
 * bounds the work where distances hardly differ.
 *
 * A walk waits for memory, not for arithmetic. So it goes by steps, each of which ends when
 * something has been prefetched, and a thread takes the next step of another walk meanwhile
 * (search.c).
 *
 * Searches take no lock. Slots at or beyond the snapshot's count belong to a later epoch and are
 * skipped, so that an ingest in progress costs neither pool room nor correctness.
 */
#include <math.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/search.h"

#define MARK_WORDS   (OMEN_CELL_SCAN_MAX / 64)
#define TOUCHED_KEPT 16384u /* slots noted one by one; a walk that saw more clears all its bits */

/* A pool entry is distance << 32 | slot << 1 | expanded: slots have 28 bits, and the flag does not
 * change the order, since no slot is in the pool twice. */
#define EXPANDED ((omen_key)1)

/* slack = sqrt(ef / nth) / SLACK_DIVISOR: as near to a pool of ef in recall as one formula comes.
 */
#define SLACK_DIVISOR 16.0f
/* The nearest alone says too little: a walk that went by it would end where nothing near is
 * nearer. */
#define NTH_MIN 10u
/* A walk that strayed into a small group ends too early by distance alone: ef / FLOOR_DIVISOR nodes
 * are expanded in any case. Half as many rows miss themselves, for 1 % of the work. */
#define FLOOR_DIVISOR 3u

static omen_code fit(struct omen_walk *walk, uint32_t slots, uint32_t pool, omen_error *err);
static void enter_pivots(struct omen_searcher *s, struct omen_walk *walk);
static bool look(struct omen_searcher *s, struct omen_walk *walk);
static void enter_cell(struct omen_walk *walk, const struct omen_cell *cell);
static void look_at_entries(struct omen_searcher *s, struct omen_walk *walk);
static void look_at_row(struct omen_searcher *s, struct omen_walk *walk);
static void take(struct omen_searcher *s, struct omen_walk *walk, const uint32_t *slots,
                 uint32_t count);
static void measure(struct omen_searcher *s, struct omen_walk *walk);
static void insert(struct omen_walk *walk, float distance, uint32_t slot);
static void end(struct omen_searcher *s, struct omen_walk *walk);
static void clear_visited(struct omen_walk *walk);

/* Notes a slot as visited; returns 1 if it was not before, and is one of the snapshot's.
 * Without a branch: whether a neighbour was visited is a coin toss. The bit at `limit`
 * stands for all slots of later epochs. */
static inline uint32_t visit(struct omen_walk *walk, uint32_t slot)
{
    uint32_t limit = walk->limit;
    uint32_t at = slot < limit ? slot : limit;
    uint64_t *word = &walk->visited[at / 64];
    uint32_t fresh = (uint32_t)(~*word >> at % 64 & 1) & (uint32_t)(slot < limit);

    *word |= (uint64_t)1 << at % 64;
    walk->touched[walk->touched_count] = at;
    walk->touched_count += fresh & (uint32_t)(walk->touched_count < TOUCHED_KEPT);
    return fresh;
}

static inline bool is_full(const struct omen_walk *walk)
{
    return walk->pool_count == walk->pool_max;
}

/* Nothing farther than this gets into the pool. */
static inline float threshold_of(const struct omen_walk *walk)
{
    float worst = is_full(walk) ? omen_key_distance(walk->pool[walk->pool_max - 1]) : INFINITY;
    float least;

    if (walk->pool_count < walk->floor) return worst;
    least = omen_key_distance(walk->pool[walk->floor - 1]);
    if (least < walk->reach) least = walk->reach;
    return worst < least ? worst : least;
}

omen_code omen_search_walk_begin(struct omen_searcher *s, struct omen_walk *walk,
                                 struct omen_query *query, uint32_t k, uint32_t ef, omen_error *err)
{
    omen_code code = fit(walk, s->snapshot->slots, OMEN_SEARCH_POOL * ef, err);

    if (code != OMEN_OK) return code;
    walk->query = query;
    walk->limit = s->snapshot->slots;
    walk->k = k;
    walk->ef = ef;
    walk->pool_max = OMEN_SEARCH_POOL * ef;
    walk->nth = k > NTH_MIN ? k : NTH_MIN;
    if (walk->nth > ef) walk->nth = ef;
    walk->slack = sqrtf((float)ef / (float)walk->nth) / SLACK_DIVISOR;
    walk->reach = INFINITY;
    walk->floor = ef / FLOOR_DIVISOR > walk->nth ? ef / FLOOR_DIVISOR : walk->nth;
    walk->step = OMEN_WALK_LOOK;
    walk->pool_count = walk->at = 0;
    walk->slot_count = 0;
    walk->entry_count = walk->entry_at = walk->cell = 0;
    enter_pivots(s, walk);
    return OMEN_OK;
}

void omen_search_walk_step(struct omen_searcher *s, struct omen_walk *walk)
{
    switch (walk->step) {
    case OMEN_WALK_LOOK:
        if (!look(s, walk))
            end(s, walk);
        else
            walk->step = OMEN_WALK_MEASURE;
        break;
    case OMEN_WALK_MEASURE:
        measure(s, walk);
        walk->step = OMEN_WALK_LOOK;
        break;
    case OMEN_WALK_ENDED:
        break;
    }
}

void omen_search_gather(struct omen_searcher *s, const uint32_t *slots, uint32_t count)
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

static omen_code fit(struct omen_walk *walk, uint32_t slots, uint32_t pool, omen_error *err)
{
    if (walk->touched == NULL)
        walk->touched = omen_alloc((TOUCHED_KEPT + 1) * sizeof *walk->touched);
    if (walk->visited_slots < slots + 1) {
        uint32_t room = slots + slots / 2 + 64;

        omen_free(walk->visited);
        walk->visited = omen_alloc_zeroed((size_t)(room / 64 + 1) * sizeof *walk->visited);
        walk->visited_slots = walk->visited != NULL ? room : 0;
    }
    if (walk->pool_capacity < pool + 1) {
        omen_free(walk->pool);
        walk->pool = omen_alloc((pool + 1) * sizeof *walk->pool);
        walk->pool_capacity = walk->pool != NULL ? pool + 1 : 0;
    }
    if (walk->touched != NULL && walk->visited_slots > slots && walk->pool_capacity > pool)
        return OMEN_OK;
    return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a walk over %u slots", slots);
}

/* The walk starts from the nearest pivots, and then from members of the nearest cells. */
static void enter_pivots(struct omen_searcher *s, struct omen_walk *walk)
{
    const omen_collection *c = s->collection;
    const struct omen_nearest *entries = &walk->query->entries;

    for (uint32_t i = 0; i < entries->count; i++) {
        uint32_t slot = omen_cells_pivot(&c->cells, omen_key_slot(entries->keys[i]));

        if (visit(walk, slot) != 0) insert(walk, omen_key_distance(entries->keys[i]), slot);
    }
}

/* Finds the next slots to look at, and fetches what the next step needs of them. False: there are
 * none left. */
static bool look(struct omen_searcher *s, struct omen_walk *walk)
{
    const omen_collection *c = s->collection;
    const struct omen_nearest *entries = &walk->query->entries;

    walk->slot_count = 0;
    while (walk->slot_count == 0) {
        if (walk->entry_at < walk->entry_count) {
            look_at_entries(s, walk);
        } else if (OMEN_TRICK_CELL_ENTRIES && walk->cell < entries->count &&
                   walk->cell < OMEN_SEARCH_CELLS) {
            enter_cell(walk, omen_cells_cell(&c->cells, omen_key_slot(entries->keys[walk->cell])));
            walk->cell++;
        } else {
            while (walk->at < walk->pool_count && (walk->pool[walk->at] & EXPANDED) != 0)
                walk->at++;
            if (walk->at == walk->pool_count ||
                (walk->at >= walk->floor && omen_key_distance(walk->pool[walk->at]) > walk->reach))
                return false;
            look_at_row(s, walk);
        }
    }
    return true;
}

/* Members from the whole of a cell, since those of a group came one after the other. */
static void enter_cell(struct omen_walk *walk, const struct omen_cell *cell)
{
    uint32_t count = omen_cell_read(cell, walk->entries, OMEN_SEARCH_CELL_MAX);

    walk->entry_at = 0;
    walk->entry_count = count < OMEN_SEARCH_MEMBERS ? count : OMEN_SEARCH_MEMBERS;
    for (uint32_t i = 0; i < walk->entry_count; i++)
        walk->entries[i] = walk->entries[i * count / walk->entry_count];
}

static void look_at_entries(struct omen_searcher *s, struct omen_walk *walk)
{
    uint32_t left = walk->entry_count - walk->entry_at;
    uint32_t count = left < OMEN_ROW_LINKS ? left : OMEN_ROW_LINKS;

    take(s, walk, walk->entries + walk->entry_at, count);
    walk->entry_at += count;
}

static void look_at_row(struct omen_searcher *s, struct omen_walk *walk)
{
    const struct omen_graph *graph = &s->collection->graph;
    uint32_t links[OMEN_ROW_LINKS];
    uint32_t degree =
        omen_row_read(omen_graph_row(graph, omen_key_slot(walk->pool[walk->at]) >> 1), links);

    walk->pool[walk->at++] |= EXPANDED;
    take(s, walk, links, degree);
    if (walk->at < walk->pool_count)
        omen_graph_prefetch_row(graph, omen_key_slot(walk->pool[walk->at]) >> 1);
}

/* Those that were not visited are the slots of this hop. */
static void take(struct omen_searcher *s, struct omen_walk *walk, const uint32_t *slots,
                 uint32_t count)
{
    const struct omen_graph *graph = &s->collection->graph;
    uint32_t taken = 0;

    for (uint32_t i = 0; i < count; i++) {
        walk->slots[taken] = slots[i];
        taken += visit(walk, slots[i]);
    }
    for (uint32_t i = 0; i < taken; i++)
        omen_graph_prefetch_node(graph, walk->slots[i]);
    walk->slot_count = taken;
    walk->query->visited += taken;
}

/* Puts the slots into the pool that are near enough, and fetches the row of the next hop. */
static void measure(struct omen_searcher *s, struct omen_walk *walk)
{
    const omen_collection *c = s->collection;
    struct omen_probe probe = omen_prepared_probe(&walk->query->prepared);
    uint64_t marks[MARK_WORDS];

    omen_search_gather(s, walk->slots, walk->slot_count);
    c->kernels.dot_i8_many(s->codes, walk->slot_count, &probe, c->graph.stride, s->dots);
    c->kernels.near(walk->query->prepared.meta, s->dots, s->scales, s->norms, walk->slot_count,
                    threshold_of(walk), s->distances, marks);
    for (uint64_t left = marks[0]; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);

        insert(walk, s->distances[i], walk->slots[i]);
    }
    while (walk->at < walk->pool_count && (walk->pool[walk->at] & EXPANDED) != 0)
        walk->at++;
    if (walk->at < walk->pool_count)
        omen_graph_prefetch_row(&c->graph, omen_key_slot(walk->pool[walk->at]) >> 1);
}

/* Puts a slot into the sorted pool, if it is near enough. */
static void insert(struct omen_walk *walk, float distance, uint32_t slot)
{
    omen_key key = omen_key_make(distance, slot << 1);
    uint32_t low = 0;

    if (is_full(walk) && key >= walk->pool[walk->pool_max - 1]) return;
    /* By halves, without a branch: each comparison is a coin toss. */
    for (uint32_t left = walk->pool_count; left > 0;) {
        uint32_t half = (left + 1) / 2;

        low += half & (0u - (uint32_t)(walk->pool[low + half - 1] < key));
        left -= half;
    }
    if (!is_full(walk)) walk->pool_count++;
    memmove(walk->pool + low + 1, walk->pool + low,
            (walk->pool_count - 1 - low) * sizeof *walk->pool);
    walk->pool[low] = key;
    if (low < walk->at) walk->at = low;
    if (low < walk->nth && walk->pool_count >= walk->nth)
        walk->reach = (1.0f + walk->slack) * omen_key_distance(walk->pool[walk->nth - 1]);
}

void omen_search_walks_abandon(struct omen_searcher *s)
{
    for (uint32_t i = 0; i < OMEN_SEARCH_WALKS; i++) {
        if (s->walks[i].query != NULL) clear_visited(&s->walks[i]);
        s->walks[i].query = NULL;
    }
}

static void clear_visited(struct omen_walk *walk)
{
    if (walk->touched_count == TOUCHED_KEPT) {
        memset(walk->visited, 0, (walk->visited_slots / 64 + 1) * sizeof *walk->visited);
    } else {
        for (uint32_t i = 0; i < walk->touched_count; i++)
            walk->visited[walk->touched[i] / 64] = 0;
    }
    walk->visited[walk->limit / 64] = 0;
    walk->touched_count = 0;
}

/* What re-ranking asks of a slot. The originals themselves are left to the kernel: fetching them
 * here, too, made it slower. */
OMEN_FETCHES void prefetch_best(const struct omen_graph *graph, const struct omen_walk *walk)
{
    for (uint32_t i = 0; i < walk->pool_count && i < OMEN_RERANK_FIRST; i++)
        omen_graph_prefetch_answer(graph, omen_key_slot(walk->pool[i]));
}

static void end(struct omen_searcher *s, struct omen_walk *walk)
{
    clear_visited(walk);
    for (uint32_t i = 0; i < walk->pool_count; i++)
        walk->pool[i] =
            omen_key_make(omen_key_distance(walk->pool[i]), omen_key_slot(walk->pool[i]) >> 1);
    walk->step = OMEN_WALK_ENDED;
    prefetch_best(&s->collection->graph, walk);
}
