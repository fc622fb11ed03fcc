/* validate.c - every invariant of a collection in one function, for tests, fuzzers and operators.
 *
 * What is checked, slot by slot: visibility, code and norm, row (links in range, not to itself, not
 * twice, not to a duplicate; cached distances), home cell and membership, duplicate chains, pivots,
 * the two tables of ADMIT; then the counts. Reachability: a slot is entered through its home cell,
 * so membership is reachability; how many could be reached from the pivots by links alone is
 * counted and told, since a walk over large cells leans on that.
 *
 * The first violation is named with its slot, and ends the check.
 */
#include <string.h>

#include "engine/collection.h"
#include "engine/memory.h"

struct check {
    omen_collection *c;
    uint32_t slots;
    uint32_t epoch;
    int8_t *values;    /* a prepared code */
    uint8_t *seen;     /* per slot: how often it stands in a cell or a chain */
    uint8_t *reached;  /* per slot: by links, from the pivots */
    uint32_t *pending; /* of the walk over links */
    omen_error *err;
};

static omen_code check_data(struct check *k, uint32_t slot, struct omen_validation *out);
static omen_code check_links(struct check *k, uint32_t slot, struct omen_validation *out);
static omen_code check_code(struct check *k, uint32_t slot);
static omen_code check_row(struct check *k, uint32_t slot, struct omen_validation *out);
static omen_code check_home(struct check *k, uint32_t slot);
static omen_code check_chain(struct check *k, uint32_t head);
static omen_code check_tables(struct check *k, uint32_t slot);
static omen_code check_cells(struct check *k);
static omen_code check_places(struct check *k);
static void count_reached(struct check *k, struct omen_validation *out);

#define BROKEN(k, ...) omen_fail((k)->err, OMEN_DATA_LOSS, __VA_ARGS__)

omen_code omen_collection_validate(omen_collection *collection, struct omen_validation *out,
                                   omen_error *err)
{
    struct check k = {.c = collection, .err = err};
    const struct omen_published *p = &collection->published;
    omen_code code = OMEN_OK;

    memset(out, 0, sizeof *out);
    (void)pthread_mutex_lock(&collection->apply_mutex);
    k.slots = atomic_load_explicit(&p->slots, memory_order_acquire);
    k.epoch = atomic_load_explicit(&p->epoch, memory_order_acquire);
    k.values = omen_alloc_aligned(collection->graph.stride);
    k.seen = omen_alloc_zeroed(k.slots);
    k.reached = omen_alloc_zeroed(k.slots);
    k.pending = omen_alloc(k.slots * sizeof *k.pending);
    if (k.values == NULL || k.seen == NULL || k.reached == NULL || k.pending == NULL) {
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a check of %u slots", k.slots);
        goto done;
    }
    if (k.slots != collection->admit.slot_count) {
        code = BROKEN(&k, "%u slots are published, %u admitted: the collection is not at rest",
                      k.slots, collection->admit.slot_count);
        goto done;
    }
    code = check_cells(&k);
    for (uint32_t slot = 0; slot < k.slots && code == OMEN_OK; slot++)
        code = check_data(&k, slot, out);
    for (uint32_t slot = 0; slot < k.slots && code == OMEN_OK; slot++)
        code = check_links(&k, slot, out);
    if (code == OMEN_OK) code = check_places(&k);
    if (code == OMEN_OK && out->points != atomic_load_explicit(&p->points, memory_order_acquire))
        code = BROKEN(&k, "%llu points are visible, %llu counted", (unsigned long long)out->points,
                      (unsigned long long)atomic_load_explicit(&p->points, memory_order_acquire));
    if (code == OMEN_OK && collection->admit.ids.count != k.slots)
        code = BROKEN(&k, "the id table has %zu entries for %u slots", collection->admit.ids.count,
                      k.slots);
    if (code == OMEN_OK) count_reached(&k, out);

done:
    (void)pthread_mutex_unlock(&collection->apply_mutex);
    omen_free(k.values);
    omen_free(k.seen);
    omen_free(k.reached);
    omen_free(k.pending);
    return code;
}

/* What stands in the slot itself, before others are measured by it. */
static omen_code check_data(struct check *k, uint32_t slot, struct omen_validation *out)
{
    omen_code code = check_code(k, slot);

    if (code == OMEN_OK && !omen_graph_visible(&k->c->graph, slot, k->epoch))
        code = BROKEN(k, "slot %u is not visible in epoch %u", slot, k->epoch);
    if (code == OMEN_OK) code = check_tables(k, slot);
    out->points++;
    return code;
}

static omen_code check_links(struct check *k, uint32_t slot, struct omen_validation *out)
{
    const struct omen_graph *graph = &k->c->graph;
    omen_code code;

    if (*omen_graph_home(graph, slot) == OMEN_CELL_NONE) {
        if (omen_row_count(omen_graph_row(graph, slot)) == 0) return OMEN_OK;
        return BROKEN(k, "slot %u is a duplicate and has links", slot);
    }
    out->linked++;
    code = check_row(k, slot, out);
    if (code == OMEN_OK) code = check_home(k, slot);
    if (code == OMEN_OK) code = check_chain(k, slot);
    return code;
}

static omen_code check_code(struct check *k, uint32_t slot)
{
    const struct omen_graph *graph = &k->c->graph;
    const uint8_t *code = omen_graph_code(graph, slot);
    struct omen_code_meta meta = *omen_graph_meta(graph, slot);
    struct omen_prepared self = {.values = k->values};
    struct omen_probe probe;
    float norm;

    for (size_t i = 0; i < graph->stride; i++) {
        bool padding = i >= k->c->settings.dim;

        if (code[i] == 0 || (padding && code[i] != OMEN_CODE_ZERO))
            return BROKEN(k, "slot %u: code byte %zu is %u", slot, i, code[i]);
    }
    omen_code_prepare(&k->c->kernels, code, meta, &self);
    probe = omen_prepared_probe(&self);
    norm = (meta.scale * meta.scale) * (float)k->c->kernels.dot_i8_one(code, &probe, graph->stride);
    if (!(meta.norm == norm))
        return BROKEN(k, "slot %u: its norm is %g, its code says %g", slot, (double)meta.norm,
                      (double)norm);
    return OMEN_OK;
}

static omen_code check_row(struct check *k, uint32_t slot, struct omen_validation *out)
{
    const struct omen_graph *graph = &k->c->graph;
    const struct omen_row *row = omen_graph_row(graph, slot);
    uint32_t count = omen_row_count(row);
    struct omen_prepared self = {.values = k->values};
    struct omen_probe probe;

    if (count > OMEN_ROW_LINKS) return BROKEN(k, "slot %u: its row has %u links", slot, count);
    omen_code_prepare(&k->c->kernels, omen_graph_code(graph, slot), *omen_graph_meta(graph, slot),
                      &self);
    probe = omen_prepared_probe(&self);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t link = omen_row_link(row, i);
        float cached = omen_graph_distances(graph, slot)->of[i];
        float d;

        if (link >= k->slots)
            return BROKEN(k, "slot %u: link %u names slot %u of %u", slot, i, link, k->slots);
        if (link == slot) return BROKEN(k, "slot %u: link %u names the slot itself", slot, i);
        if (*omen_graph_home(graph, link) == OMEN_CELL_NONE)
            return BROKEN(k, "slot %u: link %u names the duplicate %u", slot, i, link);
        for (uint32_t j = 0; j < i; j++) {
            if (omen_row_link(row, j) == link)
                return BROKEN(k, "slot %u: links %u and %u both name slot %u", slot, j, i, link);
        }
        d = omen_code_distance(
            self.meta, *omen_graph_meta(graph, link),
            k->c->kernels.dot_i8_one(omen_graph_code(graph, link), &probe, graph->stride));
        /* Under inner product a cached distance may be older than Phi. */
        if (k->c->settings.metric != OMEN_METRIC_INNER_PRODUCT && !(d == cached))
            return BROKEN(k, "slot %u: link %u is cached at %g and lies at %g", slot, i,
                          (double)cached, (double)d);
    }
    out->links += count;
    return OMEN_OK;
}

static omen_code check_home(struct check *k, uint32_t slot)
{
    const struct omen_cells *cells = &k->c->cells;
    uint32_t home = *omen_graph_home(&k->c->graph, slot);

    if (home >= cells->count)
        return BROKEN(k, "slot %u: its home is cell %u of %u", slot, home, cells->count);
    if (omen_slot_is_pivot(slot)) {
        uint32_t low = 0;
        uint32_t high = cells->count;

        while (low < high) { /* pivots are added in slot order */
            uint32_t middle = (low + high) / 2;

            if (cells->pivots[middle] < slot)
                low = middle + 1;
            else
                high = middle;
        }
        if (low == cells->count || cells->pivots[low] != slot)
            return BROKEN(k, "slot %u is of level 1 and no pivot", slot);
    }
    return OMEN_OK;
}

static omen_code check_chain(struct check *k, uint32_t head)
{
    const struct omen_graph *graph = &k->c->graph;
    uint32_t slot = head;

    for (;;) {
        slot = atomic_load_explicit(omen_graph_chain(graph, slot), memory_order_acquire);
        if (slot == OMEN_SLOT_NONE) return OMEN_OK;
        if (slot >= k->slots || *omen_graph_home(graph, slot) != OMEN_CELL_NONE)
            return BROKEN(k, "the chain of slot %u goes to slot %u, which is no duplicate", head,
                          slot);
        if (k->seen[slot]++ != 0) return BROKEN(k, "slot %u stands in a chain twice", slot);
        if (memcmp(omen_graph_code(graph, slot), omen_graph_code(graph, head), graph->stride) !=
                0 ||
            memcmp(omen_graph_meta(graph, slot), omen_graph_meta(graph, head),
                   sizeof(struct omen_code_meta)) != 0)
            return BROKEN(k, "slot %u is in the chain of slot %u and has another code", slot, head);
    }
}

static omen_code check_tables(struct check *k, uint32_t slot)
{
    uint64_t id = *omen_graph_id(&k->c->graph, slot);
    uint32_t found = omen_admit_find_id(k->c, id);

    if (found != slot)
        return BROKEN(k, "slot %u has id %llu, which the id table gives to slot %lld", slot,
                      (unsigned long long)id, found == OMEN_SLOT_NONE ? -1LL : (long long)found);
    found = omen_admit_find_code(k->c, omen_graph_code(&k->c->graph, slot),
                                 omen_graph_meta(&k->c->graph, slot)->scale);
    if (*omen_graph_home(&k->c->graph, slot) != OMEN_CELL_NONE && found != slot)
        return BROKEN(k, "slot %u has a row, but its code is found at slot %lld", slot,
                      found == OMEN_SLOT_NONE ? -1LL : (long long)found);
    return OMEN_OK;
}

/* Pivots ascend and are of level 1; members are linked slots that call the cell their home. */
static omen_code check_cells(struct check *k)
{
    const struct omen_cells *cells = &k->c->cells;

    for (uint32_t i = 0; i < cells->count; i++) {
        uint32_t pivot = cells->pivots[i];
        uint32_t count = omen_cell_count(&cells->cells[i]);
        uint32_t *members = omen_alloc(count * sizeof *members);
        omen_code code = OMEN_OK;

        if (members == NULL)
            return omen_fail(k->err, OMEN_RESOURCE_EXHAUSTED, "a cell of %u members", count);
        if (pivot >= k->slots || !omen_slot_is_pivot(pivot) ||
            (i > 0 && cells->pivots[i - 1] >= pivot))
            code =
                BROKEN(k, "pivot %u is slot %u, which is not of level 1 or out of order", i, pivot);
        count = omen_cell_read(&cells->cells[i], members, count);
        for (uint32_t j = 0; j < count && code == OMEN_OK; j++) {
            if (members[j] >= k->slots || *omen_graph_home(&k->c->graph, members[j]) != i)
                code = BROKEN(k, "cell %u has slot %u, whose home is another", i, members[j]);
            else if (k->seen[members[j]]++ != 0)
                code = BROKEN(k, "slot %u stands in cell %u twice", members[j], i);
        }
        omen_free(members);
        if (code != OMEN_OK) return code;
    }
    return OMEN_OK;
}

/* Every slot is in one cell, or in one chain. */
static omen_code check_places(struct check *k)
{
    for (uint32_t slot = 0; slot < k->slots; slot++) {
        if (k->seen[slot] == 1) continue;
        return BROKEN(k, "slot %u is in no cell and in no chain: no search can find it", slot);
    }
    return OMEN_OK;
}

static void count_reached(struct check *k, struct omen_validation *out)
{
    const struct omen_cells *cells = &k->c->cells;
    uint32_t pending = 0;

    for (uint32_t i = 0; i < cells->count; i++) {
        k->reached[cells->pivots[i]] = 1;
        k->pending[pending++] = cells->pivots[i];
    }
    while (pending > 0) {
        uint32_t links[OMEN_ROW_LINKS];
        uint32_t slot = k->pending[--pending];
        uint32_t count = omen_row_read(omen_graph_row(&k->c->graph, slot), links);

        out->reached_by_links++;
        for (uint32_t i = 0; i < count; i++) {
            if (k->reached[links[i]] != 0) continue;
            k->reached[links[i]] = 1;
            k->pending[pending++] = links[i];
        }
    }
}
