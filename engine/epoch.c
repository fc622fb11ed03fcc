/* epoch.c - one step of a collection: the order of the phases, and what is published when.
 *
 * dead nodes leave their cells | links to them are repaired | new pivots take over members | route
 * every point | update the cells | candidates, selection, own rows | back-links | duplicates join
 * their chains | at a boundary: the sweep. A bar is a barrier: the crew's threads have all
 * finished. Then the epoch is published.
 *
 * Rounds: a young graph at most doubles in one go (prefix doubling, as in ParlayANN). Points that
 * arrive together choose their nearest among each other; were the first thousands one round, they
 * would form islands without a long link between them. The boundaries depend on the number of
 * points alone.
 */
#include "engine/epoch.h"

#include <string.h>

#include "engine/capture.h"
#include "engine/memory.h"

/* The first round; each later one ends at twice the points before it, at most. */
#define FIRST_ROUND_POINTS 16u

/* An epoch this small is done sooner by one thread than by waking the others. */
#define CREW_POINTS_MIN 32u

static omen_code worker_init(struct omen_worker *w, omen_error *err);
static omen_code fit_collection(struct omen_step *step, omen_error *err);
static void worker_unfit(struct omen_worker *w);
static void worker_deinit(struct omen_worker *w);
static omen_code collect_points(struct omen_step *step, omen_error *err);
static omen_code add_pivots(struct omen_step *step, omen_error *err);
static void collect_everything(struct omen_step *step);
static omen_code apply_round(struct omen_step *step, omen_error *err);
static void join_chains(struct omen_step *step);
static void publish(struct omen_step *step);

omen_code omen_step_create(omen_crew *crew, uint32_t shards, struct omen_step **out,
                           omen_error *err)
{
    struct omen_step *step = omen_alloc_zeroed(sizeof *step);
    omen_code code = OMEN_OK;

    *out = NULL;
    if (step == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the ingest workspace");
    step->crew = crew;
    step->shards = shards;
    step->worker_count = omen_crew_workers(crew);
    step->workers = omen_alloc_zeroed(step->worker_count * sizeof *step->workers);
    step->everything = omen_alloc(OMEN_SMALL_COLLECTION * sizeof *step->everything);
    if (step->workers == NULL || step->everything == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the ingest workspace");
    for (uint32_t i = 0; i < step->worker_count && code == OMEN_OK; i++)
        code = worker_init(&step->workers[i], err);
    if (code != OMEN_OK) {
        omen_step_destroy(step);
        return code;
    }
    *out = step;
    return OMEN_OK;
}

void omen_step_destroy(struct omen_step *step)
{
    if (step == NULL) return;
    for (uint32_t i = 0; step->workers != NULL && i < step->worker_count; i++)
        worker_deinit(&step->workers[i]);
    for (uint32_t i = 0; i < step->block_capacity; i++) {
        omen_free(step->blocks[i].links);
        omen_free(step->blocks[i].shard_begin);
    }
    omen_free(step->workers);
    omen_free(step->points);
    omen_free(step->routes);
    omen_free(step->route_counts);
    omen_free(step->cuts);
    omen_free(step->order);
    omen_free(step->ranks);
    omen_free(step->everything);
    omen_free(step->takeover);
    omen_free(step->takeover_begin);
    omen_free(step->takeover_pivots);
    omen_free(step->moves);
    omen_free(step->blocks);
    omen_free(step);
}

omen_code omen_epoch_apply(struct omen_step *step, omen_collection *collection,
                           const struct omen_epoch *epoch, omen_error *err)
{
    omen_code code = OMEN_OK;

    (void)pthread_mutex_lock(&collection->apply_mutex);
    step->collection = collection;
    step->epoch = epoch;
    code = fit_collection(step, err);
    if (code == OMEN_OK) code = omen_step_retire(step, err);
    if (code == OMEN_OK) code = omen_step_repair(step, err);
    for (uint32_t i = 0; i < epoch->placed.count && code == OMEN_OK; i = step->end) {
        uint64_t points = epoch->points_before + i;
        uint64_t most = points < FIRST_ROUND_POINTS ? FIRST_ROUND_POINTS : 2 * points;

        step->first = i;
        step->end = epoch->placed.count;
        if (most - epoch->points_before < step->end)
            step->end = (uint32_t)(most - epoch->points_before);
        code = apply_round(step, err);
    }
    if (code == OMEN_OK) join_chains(step);
    if (code == OMEN_OK && epoch->boundary) code = omen_step_sweep(step, err);
    if (code == OMEN_OK && epoch->capture != NULL) omen_capture_graph(step, epoch->capture);
    if (code == OMEN_OK) publish(step);
    step->epoch = NULL;
    step->collection = NULL;
    (void)pthread_mutex_unlock(&collection->apply_mutex);
    return code;
}

static omen_code apply_round(struct omen_step *step, omen_error *err)
{
    omen_code code = collect_points(step, err);

    if (code != OMEN_OK || step->point_count == 0) return code;
    code = add_pivots(step, err);
    if (code == OMEN_OK) code = omen_step_update_regions(step, err);
    if (code == OMEN_OK) code = omen_step_take_over(step, err);
    if (code == OMEN_OK) code = omen_step_route(step, err);
    if (code == OMEN_OK) code = omen_step_order(step, err);
    collect_everything(step);
    if (code == OMEN_OK) code = omen_step_propose(step, err);
    if (code == OMEN_OK) code = omen_step_link(step, err);
    return code;
}

omen_code omen_step_run(struct omen_step *step, omen_crew_fn *phase, omen_error *err)
{
    atomic_store_explicit(&step->next, 0, memory_order_relaxed);
    if (step->point_count < CREW_POINTS_MIN)
        phase(step, 0);
    else
        omen_crew_run(step->crew, phase, step);
    for (uint32_t i = 0; i < step->worker_count; i++) {
        struct omen_worker *w = &step->workers[i];

        if (w->code == OMEN_OK) continue;
        if (err != NULL) *err = w->error;
        return w->code;
    }
    return OMEN_OK;
}

bool omen_worker_fit_cells(struct omen_step *step, struct omen_worker *w)
{
    const struct omen_cells *cells = &step->collection->cells;
    uint32_t largest = OMEN_CELL_SCAN_MAX;

    for (uint32_t i = 0; i < cells->count; i++) {
        uint32_t members = omen_cell_count(omen_cells_cell(cells, i));

        if (members > largest) largest = members;
    }
    if (w->cell_list_capacity >= largest) return true;
    omen_free(w->cell_keys);
    omen_free(w->cell_list);
    w->cell_list_capacity = 0;
    w->cell_keys = omen_alloc(2 * (size_t)largest * sizeof *w->cell_keys);
    w->cell_list = omen_alloc(2 * (size_t)largest * sizeof *w->cell_list);
    if (w->cell_keys == NULL || w->cell_list == NULL) {
        w->code = omen_fail(&w->error, OMEN_RESOURCE_EXHAUSTED, "a cell of %u members", largest);
        return false;
    }
    w->cell_list_capacity = 2 * largest;
    return true;
}

static omen_code worker_init(struct omen_worker *w, omen_error *err)
{
    size_t members = OMEN_CELL_SCAN_MAX;

    w->codes = omen_alloc(members * sizeof *w->codes);
    w->point_codes = omen_alloc(OMEN_TILE_POINTS * sizeof *w->point_codes);
    w->members = omen_alloc(members * sizeof *w->members);
    w->bias = omen_alloc_aligned(members * sizeof *w->bias);
    w->scales = omen_alloc_aligned(members * sizeof *w->scales);
    w->norms = omen_alloc_aligned(members * sizeof *w->norms);
    w->dots = omen_alloc_aligned(OMEN_TILE_POINTS * members * sizeof *w->dots);
    w->distances = omen_alloc_aligned(members * sizeof *w->distances);
    w->keys = omen_alloc(OMEN_BLOCK_KEYS * sizeof *w->keys);
    w->nearest = omen_alloc(OMEN_BLOCK_POINTS * sizeof *w->nearest);
    w->regions = omen_alloc(OMEN_BLOCK_POINTS * OMEN_ROUTE_REGIONS * sizeof *w->regions);
    w->region_counts = omen_alloc(OMEN_BLOCK_POINTS * sizeof *w->region_counts);
    if (w->codes == NULL || w->point_codes == NULL || w->members == NULL || w->bias == NULL ||
        w->scales == NULL || w->norms == NULL || w->dots == NULL || w->distances == NULL ||
        w->keys == NULL || w->nearest == NULL || w->regions == NULL || w->region_counts == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "an ingest thread's workspace");
    return OMEN_OK;
}

/* Makes the buffers large enough for the collection, and forgets an earlier one's failure. They
 * stay as large as the most demanding collection so far. */
static omen_code fit_collection(struct omen_step *step, omen_error *err)
{
    const omen_collection *c = step->collection;
    size_t stride = c->graph.stride;
    uint32_t probes = c->settings.probes;
    uint32_t keys = 4 * c->settings.candidates;
    uint32_t groups; /* cells, or regions, that a point looks into */

    if (keys < 2 * probes) keys = 2 * probes;
    if (keys < 2 * OMEN_TAKEOVER_CELLS) keys = 2 * OMEN_TAKEOVER_CELLS;
    step->probes = probes;
    step->key_buffer = keys;
    for (uint32_t i = 0; i < step->worker_count; i++) {
        step->workers[i].code = OMEN_OK;
        step->workers[i].move_count = 0;
    }
    if (stride <= step->fit_stride && probes <= step->fit_probes) return OMEN_OK;
    if (stride < step->fit_stride) stride = step->fit_stride;
    if (probes < step->fit_probes) probes = step->fit_probes;
    step->fit_stride = 0;     /* until all of them are there */
    step->point_capacity = 0; /* routes hang on the probes, too */
    groups = probes > OMEN_ROUTE_REGIONS ? probes : OMEN_ROUTE_REGIONS;
    for (uint32_t i = 0; i < step->worker_count; i++) {
        struct omen_worker *w = &step->workers[i];

        worker_unfit(w);
        w->packed = omen_alloc_aligned(OMEN_CELL_SCAN_MAX * stride);
        w->probes = omen_alloc_aligned((OMEN_ROW_LINKS + 1) * stride);
        w->cell_points = omen_alloc((size_t)OMEN_BLOCK_POINTS * groups * sizeof *w->cell_points);
        if (w->packed == NULL || w->probes == NULL || w->cell_points == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "an ingest thread's workspace");
    }
    step->fit_stride = stride;
    step->fit_probes = probes;
    return OMEN_OK;
}

static void worker_unfit(struct omen_worker *w)
{
    omen_free(w->packed);
    omen_free(w->probes);
    omen_free(w->cell_points);
    w->packed = w->probes = NULL;
    w->cell_points = NULL;
}

static void worker_deinit(struct omen_worker *w)
{
    worker_unfit(w);
    omen_free(w->keys);
    omen_free(w->codes);
    omen_free(w->point_codes);
    omen_free(w->members);
    omen_free(w->bias);
    omen_free(w->scales);
    omen_free(w->norms);
    omen_free(w->dots);
    omen_free(w->distances);
    omen_free(w->nearest);
    omen_free(w->regions);
    omen_free(w->region_counts);
    omen_free(w->cell_keys);
    omen_free(w->cell_list);
    omen_free(w->cell_begin);
    omen_free(w->moves);
}

static omen_code collect_points(struct omen_step *step, omen_error *err)
{
    const struct omen_graph *graph = &step->collection->graph;
    omen_code code = omen_step_fit_points(step, step->end - step->first, err);

    step->point_count = 0;
    for (uint32_t i = step->first; code == OMEN_OK && i < step->end; i++) {
        uint32_t slot = step->epoch->placed.slots[i];

        if ((*omen_graph_flags(graph, slot) & OMEN_SLOT_LINKED) == 0) continue;
        *omen_graph_state(graph, slot) = OMEN_NODE_LINKED;
        step->points[step->point_count++] = slot;
    }
    return code;
}

omen_code omen_step_fit_points(struct omen_step *step, uint32_t points, omen_error *err)
{
    if (points <= step->point_capacity) return OMEN_OK;
    omen_free(step->points);
    omen_free(step->routes);
    omen_free(step->route_counts);
    omen_free(step->cuts);
    omen_free(step->order);
    step->point_capacity = 0;
    step->points = omen_alloc(points * sizeof *step->points);
    step->routes = omen_alloc((size_t)points * step->fit_probes * sizeof *step->routes);
    step->route_counts = omen_alloc(points * sizeof *step->route_counts);
    step->cuts = omen_alloc(points * sizeof *step->cuts);
    step->order = omen_alloc(points * sizeof *step->order);
    if (step->points == NULL || step->routes == NULL || step->route_counts == NULL ||
        step->cuts == NULL || step->order == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "an epoch of %u points", points);
    step->point_capacity = points;
    return OMEN_OK;
}

omen_code omen_step_fit_moves(struct omen_step *step, uint32_t count, omen_error *err)
{
    if (count <= step->move_capacity) return OMEN_OK;
    omen_free(step->moves);
    step->move_capacity = 0;
    step->moves = omen_alloc(count * sizeof *step->moves);
    if (step->moves == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u moves", count);
    step->move_capacity = count;
    return OMEN_OK;
}

int omen_move_compare(const void *a, const void *b)
{
    const struct omen_move *x = a;
    const struct omen_move *y = b;

    if (x->cell != y->cell) return x->cell < y->cell ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static omen_code add_pivots(struct omen_step *step, omen_error *err)
{
    omen_collection *c = step->collection;
    omen_code code = OMEN_OK;

    step->old_pivots = c->cells.count;
    for (uint32_t i = 0; i < step->point_count && code == OMEN_OK; i++) {
        if ((*omen_graph_flags(&c->graph, step->points[i]) & OMEN_SLOT_PIVOT) != 0)
            code = omen_cells_add_pivot(&c->cells, &c->graph, &c->kernels, step->points[i], err);
    }
    return code;
}

omen_code omen_step_update_regions(struct omen_step *step, omen_error *err)
{
    omen_collection *c = step->collection;

    if (step->epoch->algorithm < 3) return OMEN_OK;
    return omen_regions_update(&c->regions, &c->cells, &c->graph, &c->kernels,
                               step->epoch->phi_squared, err);
}

/* Up to OMEN_SMALL_COLLECTION points, all nodes are candidates of all; every one is in a cell. */
static void collect_everything(struct omen_step *step)
{
    const struct omen_cells *cells = &step->collection->cells;

    step->small = step->epoch->points_before + step->end <= OMEN_SMALL_COLLECTION;
    step->everything_count = 0;
    for (uint32_t i = 0; step->small && i < cells->count; i++)
        step->everything_count +=
            omen_cell_read(omen_cells_cell(cells, i), step->everything + step->everything_count,
                           OMEN_SMALL_COLLECTION - step->everything_count);
}

/* The applier alone changes chains; a duplicate's data was written by ADMIT. */
static void join_chains(struct omen_step *step)
{
    const struct omen_graph *graph = &step->collection->graph;

    for (uint32_t i = 0; i < step->epoch->placed.count; i++) {
        uint32_t slot = step->epoch->placed.slots[i];
        _Atomic uint32_t *head;

        if ((*omen_graph_flags(graph, slot) & OMEN_SLOT_LINKED) != 0) continue;
        head = omen_graph_chain(graph, *omen_graph_home(graph, slot));
        atomic_store_explicit(omen_graph_chain(graph, slot),
                              atomic_load_explicit(head, memory_order_relaxed),
                              memory_order_release);
        atomic_store_explicit(head, slot, memory_order_release);
    }
}

/* Two blocks for each thread, so that one that was held up leaves work to the others; the larger a
 * block, the more points share a packed cell. */
omen_code omen_step_plan_blocks(struct omen_step *step, omen_error *err)
{
    uint32_t parts = step->worker_count == 1 ? 1 : 2 * step->worker_count;
    uint32_t points = (step->point_count + parts - 1) / parts;

    if (points < OMEN_TILE_POINTS) points = OMEN_TILE_POINTS;
    if (points > OMEN_BLOCK_POINTS) points = OMEN_BLOCK_POINTS;
    if (points > OMEN_BLOCK_KEYS / step->key_buffer) points = OMEN_BLOCK_KEYS / step->key_buffer;
    step->block_points = points;
    step->block_count = (step->point_count + points - 1) / points;
    if (step->block_count > step->block_capacity) {
        struct omen_block *blocks = omen_realloc(step->blocks, step->block_count * sizeof *blocks);

        if (blocks == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u blocks", step->block_count);
        step->blocks = blocks;
        while (step->block_capacity < step->block_count) {
            struct omen_block *block = &blocks[step->block_capacity];

            memset(block, 0, sizeof *block);
            block->shard_begin = omen_alloc((step->shards + 2) * sizeof *block->shard_begin);
            if (block->shard_begin == NULL)
                return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u shards", step->shards);
            step->block_capacity++;
        }
    }
    return OMEN_OK;
}

/* See struct omen_published for the order and why it suffices. */
static void publish(struct omen_step *step)
{
    omen_collection *c = step->collection;
    struct omen_published *p = &c->published;

    atomic_store_explicit(&c->cells.published, c->cells.count, memory_order_release);
    atomic_store_explicit(&p->slots, step->epoch->slots_end, memory_order_release);
    atomic_store_explicit(&p->slots_used, step->epoch->slots_used, memory_order_release);
    if (step->epoch->boundary)
        atomic_store_explicit(&p->checkpoint_position, step->epoch->position, memory_order_release);
    atomic_store_explicit(&p->points, step->epoch->points_total, memory_order_release);
    atomic_store_explicit(&p->phi_squared, step->epoch->phi_squared, memory_order_release);
    atomic_store_explicit(&p->epoch, step->epoch->number, memory_order_release);
    atomic_store_explicit(&p->position, step->epoch->position, memory_order_release);
    atomic_store_explicit(&c->table_bytes,
                          omen_cells_bytes(&c->cells, c->graph.stride) +
                              omen_regions_bytes(&c->regions, c->graph.stride) +
                              omen_graph_bytes(&c->graph, step->epoch->slots_end),
                          memory_order_relaxed);
    if (step->epoch->boundary) omen_grace_turn(&c->grace);
}
