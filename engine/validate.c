/* validate.c - every invariant of a collection in one function, for tests, fuzzers and operators.
 *
 * What is checked, slot by slot: where it stands in its life (in use, dead, swept, free, and in one
 * list only), visibility, id, code and norm, the points of its node, row (links in range, not to
 * itself, not twice, not to a duplicate nor to what has left the graph; cached distances), home
 * cell and membership, duplicate chains, pivots, the tables and the clock of ADMIT; then the
 * counts. Reachability: a node is entered through its home cell, so membership is reachability; how
 * many could be reached from the pivots by links alone is counted and told, since a walk over large
 * cells leans on that.
 *
 * The first violation is named with its slot, and ends the check.
 */
#include <string.h>

#include "engine/collection.h"
#include "engine/id.h"
#include "engine/memory.h"

/* Where a slot's life stands, as ADMIT's lists say. */
enum life { IN_USE, DEAD, SWEPT, FREE };

struct check {
    omen_collection *c;
    uint32_t slots;
    int8_t *values;    /* a prepared code */
    uint8_t *lives;    /* per slot: enum life */
    uint8_t *seen;     /* per slot: how often it stands in a cell or a chain */
    uint8_t *reached;  /* per slot: by links, from the pivots */
    uint8_t *timed;    /* per slot: has an entry among those that expire */
    uint32_t *copies;  /* per head: living points that call it their node */
    uint32_t *pending; /* of the walk over links */
    uint64_t nodes;
    omen_error *err;
};

static omen_code check_all(struct check *k, struct omen_validation *out);
static omen_code check_rest(const struct check *k);
static omen_code check_lives(struct check *k);
static omen_code check_expiry(struct check *k);
static omen_code check_slot(struct check *k, uint32_t slot, struct omen_validation *out);
static omen_code check_code(struct check *k, uint32_t slot);
static omen_code check_links(struct check *k, uint32_t slot, struct omen_validation *out);
static omen_code check_row(struct check *k, uint32_t slot, struct omen_validation *out);
static omen_code check_chain(struct check *k, uint32_t head);
static omen_code check_tables(struct check *k, uint32_t slot);
static omen_code check_cells(struct check *k);
static omen_code check_regions(struct check *k);
static omen_code check_places(struct check *k);
static omen_code check_counts(struct check *k, const struct omen_validation *out);
static void count_reached(struct check *k, struct omen_validation *out);

#define BROKEN(k, ...) omen_fail_because((k)->err, OMEN_DATA_LOSS, "VIOLATION", __VA_ARGS__)

static enum omen_node_state state_of(const struct check *k, uint32_t slot)
{
    return (enum omen_node_state) * omen_graph_state(&k->c->graph, slot);
}

static bool is_alive(const struct check *k, uint32_t slot)
{
    return omen_graph_died(&k->c->graph, slot) == OMEN_EPOCH_NEVER;
}

omen_code omen_collection_validate(omen_collection *collection, struct omen_validation *out,
                                   omen_error *err)
{
    struct check k = {.c = collection, .err = err};
    omen_code code = OMEN_OK;

    memset(out, 0, sizeof *out);
    (void)pthread_mutex_lock(&collection->admit_mutex);
    (void)pthread_mutex_lock(&collection->apply_mutex);
    k.slots = collection->admit.slot_count;
    k.values = omen_alloc_aligned(collection->graph.stride);
    k.lives = omen_alloc_zeroed(k.slots);
    k.seen = omen_alloc_zeroed(k.slots);
    k.reached = omen_alloc_zeroed(k.slots);
    k.timed = omen_alloc_zeroed(k.slots);
    k.copies = omen_alloc_zeroed(k.slots * sizeof *k.copies);
    k.pending = omen_alloc(k.slots * sizeof *k.pending);
    if (k.values == NULL || k.lives == NULL || k.seen == NULL || k.reached == NULL ||
        k.timed == NULL || k.copies == NULL || k.pending == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a check of %u slots", k.slots);
    else
        code = check_all(&k, out);
    (void)pthread_mutex_unlock(&collection->apply_mutex);
    (void)pthread_mutex_unlock(&collection->admit_mutex);
    omen_free(k.values);
    omen_free(k.lives);
    omen_free(k.seen);
    omen_free(k.reached);
    omen_free(k.timed);
    omen_free(k.copies);
    omen_free(k.pending);
    return code;
}

static omen_code check_all(struct check *k, struct omen_validation *out)
{
    omen_code code = check_rest(k);

    if (code == OMEN_OK) code = check_lives(k);
    if (code == OMEN_OK) code = check_expiry(k);
    if (code == OMEN_OK) code = check_cells(k);
    if (code == OMEN_OK) code = check_regions(k);
    for (uint32_t slot = 0; slot < k->slots && code == OMEN_OK; slot++)
        code = check_slot(k, slot, out);
    for (uint32_t slot = 0; slot < k->slots && code == OMEN_OK; slot++)
        code = check_links(k, slot, out);
    if (code == OMEN_OK) code = check_places(k);
    if (code == OMEN_OK) code = check_counts(k, out);
    if (code == OMEN_OK) count_reached(k, out);
    return code;
}

static omen_code check_rest(const struct check *k)
{
    const struct omen_admit *admit = &k->c->admit;
    uint32_t epoch = atomic_load_explicit(&k->c->published.epoch, memory_order_acquire);

    if (epoch + 1 == admit->epoch_number && admit->open->placed.count == 0 &&
        admit->open->retired.count == 0 && admit->open->leavers.count == 0 &&
        !omen_admit_open_dirty(admit))
        return OMEN_OK;
    return omen_fail_because(k->err, OMEN_FAILED_PRECONDITION, "NOT_AT_REST",
                             "collection '%s': epoch %u is published, %u is being filled: writes "
                             "are under way",
                             k->c->name, epoch, admit->epoch_number);
}

static omen_code mark_lives(struct check *k, const struct omen_slots *list, enum life life)
{
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t slot = list->slots[i];

        if (slot >= k->slots)
            return BROKEN(k, "slot %u of %u is called dead or free", slot, k->slots);
        if (k->lives[slot] != IN_USE)
            return BROKEN(k, "slot %u is in two lists of dead and free ones", slot);
        k->lives[slot] = (uint8_t)life;
    }
    return OMEN_OK;
}

static omen_code check_lives(struct check *k)
{
    const struct omen_admit *admit = &k->c->admit;
    omen_code code = mark_lives(k, &admit->dead, DEAD);

    if (code == OMEN_OK) code = mark_lives(k, &admit->swept, SWEPT);
    if (code == OMEN_OK) code = mark_lives(k, &admit->free, FREE);
    for (uint32_t i = 1; i < admit->free.count && code == OMEN_OK; i++) {
        if (admit->free.slots[i - 1] <= admit->free.slots[i])
            code = BROKEN(k, "free slot %u is out of order", admit->free.slots[i]);
    }
    return code;
}

static omen_code check_expiry(struct check *k)
{
    const struct omen_expiry *expiry = &k->c->admit.expiry;
    const struct omen_graph *graph = &k->c->graph;

    for (uint32_t i = 0; i < expiry->count; i++) {
        const struct omen_expiry_entry *e = &expiry->heap[i];

        if (i > 0 && e->at < expiry->heap[(i - 1) / 2].at)
            return BROKEN(k, "slot %u expires before one that stands before it", e->slot);
        if (e->slot < k->slots && omen_graph_born(graph, e->slot) == e->born &&
            atomic_load(omen_graph_expires(graph, e->slot)) == e->at)
            k->timed[e->slot] = 1;
    }
    return OMEN_OK;
}

/* What stands in the slot itself, before others are measured by it. */
static omen_code check_slot(struct check *k, uint32_t slot, struct omen_validation *out)
{
    const struct omen_graph *graph = &k->c->graph;
    uint8_t flags = *omen_graph_flags(graph, slot);
    bool linked = (flags & OMEN_SLOT_LINKED) != 0;
    uint32_t head = linked ? slot : *omen_graph_home(graph, slot);
    bool carries = linked && *omen_graph_copies(graph, slot) > 0;
    omen_code code = OMEN_OK;

    if (k->lives[slot] == FREE) {
        if (flags == 0 && state_of(k, slot) == OMEN_NODE_NONE && !is_alive(k, slot)) return OMEN_OK;
        return BROKEN(k, "slot %u is free, and has flags %u, state %d", slot, flags,
                      (int)state_of(k, slot));
    }
    if (linked == ((flags & OMEN_SLOT_DUPLICATE) != 0))
        return BROKEN(k, "slot %u has flags %u: neither a head nor a duplicate", slot, flags);
    if (is_alive(k, slot) != (k->lives[slot] == IN_USE) && !(carries && k->lives[slot] == IN_USE))
        return BROKEN(k, "slot %u is not visible, and in no list of dead ones, or the opposite",
                      slot);
    /* A checkpoint leaves the codes of swept slots out. */
    if (k->lives[slot] != SWEPT || (flags & OMEN_SLOT_NAMELESS) == 0) code = check_code(k, slot);
    if (code != OMEN_OK || !is_alive(k, slot)) return code;
    if (omen_graph_born(graph, slot) >= k->c->admit.epoch_number)
        return BROKEN(k, "slot %u is not visible: it is born in epoch %u", slot,
                      omen_graph_born(graph, slot));
    if (head >= k->slots || (*omen_graph_flags(graph, head) & OMEN_SLOT_LINKED) == 0)
        return BROKEN(k, "slot %u is a duplicate of slot %u, which is no head", slot, head);
    if (atomic_load(omen_graph_expires(graph, slot)) != 0 && k->timed[slot] == 0)
        return BROKEN(k, "slot %u expires, but no clock knows it", slot);
    k->copies[head]++;
    out->points++;
    return check_tables(k, slot);
}

/* What ties the node to others. */
static omen_code check_links(struct check *k, uint32_t slot, struct omen_validation *out)
{
    const struct omen_graph *graph = &k->c->graph;
    uint8_t flags = *omen_graph_flags(graph, slot);
    enum omen_node_state state = state_of(k, slot);
    enum omen_node_state wanted = OMEN_NODE_NONE;
    omen_code code = OMEN_OK;

    if ((flags & OMEN_SLOT_LINKED) == 0) {
        if (state == OMEN_NODE_NONE && omen_row_count(omen_graph_row(graph, slot)) == 0)
            return OMEN_OK;
        if (flags == 0 || k->lives[slot] == SWEPT) return OMEN_OK; /* free: anything may be left */
        return BROKEN(k, "slot %u is a duplicate and has links", slot);
    }
    if (k->copies[slot] != *omen_graph_copies(graph, slot))
        return BROKEN(k, "slot %u carries %u points and counts %u", slot, k->copies[slot],
                      *omen_graph_copies(graph, slot));
    if (k->copies[slot] > 0)
        wanted = OMEN_NODE_LINKED;
    else if (k->lives[slot] == DEAD && (flags & OMEN_SLOT_IN_GRAPH) != 0)
        wanted = OMEN_NODE_DEAD;
    if (state != wanted)
        return BROKEN(k, "slot %u is in state %d of the graph instead of %d", slot, (int)state,
                      (int)wanted);
    if (state == OMEN_NODE_NONE) return OMEN_OK;
    out->linked += state == OMEN_NODE_LINKED;
    k->nodes += state == OMEN_NODE_LINKED;
    code = check_row(k, slot, out);
    if (code == OMEN_OK && state == OMEN_NODE_LINKED) code = check_chain(k, slot);
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
        if ((*omen_graph_flags(graph, link) & OMEN_SLOT_DUPLICATE) != 0)
            return BROKEN(k, "slot %u: link %u names the duplicate %u", slot, i, link);
        if (state_of(k, link) == OMEN_NODE_NONE)
            return BROKEN(k, "slot %u: link %u names slot %u, which has left the graph", slot, i,
                          link);
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

static omen_code check_chain(struct check *k, uint32_t head)
{
    const struct omen_graph *graph = &k->c->graph;
    uint32_t slot = head;

    for (;;) {
        slot = atomic_load_explicit(omen_graph_chain(graph, slot), memory_order_acquire);
        if (slot == OMEN_SLOT_NONE) return OMEN_OK;
        if (slot >= k->slots || (*omen_graph_flags(graph, slot) & OMEN_SLOT_DUPLICATE) == 0)
            return BROKEN(k, "the chain of slot %u goes to slot %u, which is no duplicate", head,
                          slot);
        if (k->seen[slot]++ != 0) return BROKEN(k, "slot %u stands in a chain twice", slot);
        if (*omen_graph_home(graph, slot) != head || !is_alive(k, slot))
            return BROKEN(k, "slot %u is in the chain of slot %u, where it does not belong", slot,
                          head);
        if (memcmp(omen_graph_code(graph, slot), omen_graph_code(graph, head), graph->stride) !=
                0 ||
            memcmp(omen_graph_meta(graph, slot), omen_graph_meta(graph, head),
                   sizeof(struct omen_code_meta)) != 0)
            return BROKEN(k, "slot %u is in the chain of slot %u and has another code", slot, head);
    }
}

/* Of a living point. */
static omen_code check_tables(struct check *k, uint32_t slot)
{
    const struct omen_graph *graph = &k->c->graph;
    struct omen_id id = omen_graph_id_of(graph, slot);
    bool linked = (*omen_graph_flags(graph, slot) & OMEN_SLOT_LINKED) != 0;
    uint32_t found = omen_admit_find_id(k->c, &id);

    if (found != slot)
        return BROKEN(k, "slot %u has an id that the id table gives to slot %lld", slot,
                      found == OMEN_SLOT_NONE ? -1LL : (long long)found);
    found = omen_admit_find_code(k->c, omen_graph_code(graph, slot),
                                 omen_graph_meta(graph, slot)->scale);
    if (found != (linked ? slot : *omen_graph_home(graph, slot)))
        return BROKEN(k, "slot %u has a row or a head, but its code is found at slot %lld", slot,
                      found == OMEN_SLOT_NONE ? -1LL : (long long)found);
    return OMEN_OK;
}

/* Pivots are marked as such and once there; members are living nodes that call the cell their home.
 */
static omen_code check_cells(struct check *k)
{
    const struct omen_cells *cells = &k->c->cells;
    uint32_t living = 0;
    omen_code code = OMEN_OK;

    for (uint32_t i = 0; i < cells->count && code == OMEN_OK; i++) {
        const struct omen_cell *cell = omen_cells_cell(cells, i);
        uint32_t pivot = omen_cells_pivot(cells, i);
        uint32_t count = omen_cell_count(cell);
        uint32_t *members = omen_alloc(count * sizeof *members);

        if (members == NULL)
            return omen_fail(k->err, OMEN_RESOURCE_EXHAUSTED, "a cell of %u members", count);
        if (pivot >= k->slots || (*omen_graph_flags(&k->c->graph, pivot) & OMEN_SLOT_PIVOT) == 0 ||
            state_of(k, pivot) == OMEN_NODE_NONE || k->reached[pivot]++ != 0)
            code = BROKEN(k, "pivot %u is slot %u, which is none, or is one twice", i, pivot);
        else
            living += state_of(k, pivot) == OMEN_NODE_LINKED;
        count = omen_cell_read(cell, members, count);
        for (uint32_t j = 0; j < count && code == OMEN_OK; j++) {
            if (members[j] >= k->slots || *omen_graph_home(&k->c->graph, members[j]) != i ||
                state_of(k, members[j]) != OMEN_NODE_LINKED)
                code = BROKEN(k, "cell %u has slot %u, whose home is another, or which is dead", i,
                              members[j]);
            else if (k->seen[members[j]]++ != 0)
                code = BROKEN(k, "slot %u stands in cell %u twice", members[j], i);
        }
        omen_free(members);
    }
    if (code == OMEN_OK &&
        (cells->count != k->c->admit.pivots || living != k->c->admit.living_pivots))
        code = BROKEN(k, "%u pivots, %u of them living; ADMIT counts %u and %u", cells->count,
                      living, k->c->admit.pivots, k->c->admit.living_pivots);
    return code;
}

static omen_code check_regions(struct check *k)
{
    const omen_collection *c = k->c;
    omen_error why = {0};
    omen_code code = omen_regions_check(&c->regions, &c->cells, &c->graph, &c->kernels, &why);

    if (code == OMEN_INTERNAL) return BROKEN(k, "%s", why.message);
    return code == OMEN_OK ? code : omen_fail(k->err, code, "%s", why.message);
}

/* Every node is in one cell, every other living point in one chain. */
static omen_code check_places(struct check *k)
{
    for (uint32_t slot = 0; slot < k->slots; slot++) {
        uint8_t flags = *omen_graph_flags(&k->c->graph, slot);
        bool stands = (flags & OMEN_SLOT_LINKED) != 0 ? state_of(k, slot) == OMEN_NODE_LINKED
                                                      : flags != 0 && is_alive(k, slot);

        if (k->seen[slot] == stands) continue;
        if (stands)
            return BROKEN(k, "slot %u is in no cell and in no chain: no search can find it", slot);
        if (k->lives[slot] != FREE)
            return BROKEN(k, "slot %u is gone, and still in a cell or a chain", slot);
    }
    return OMEN_OK;
}

static omen_code check_counts(struct check *k, const struct omen_validation *out)
{
    const struct omen_admit *admit = &k->c->admit;
    uint64_t counted = atomic_load_explicit(&k->c->published.points, memory_order_acquire);
    uint32_t nameless = 0;

    for (uint32_t slot = 0; slot < k->slots; slot++)
        nameless += (*omen_graph_flags(&k->c->graph, slot) & OMEN_SLOT_NAMELESS) != 0;

    if (out->points != counted || counted != admit->point_count)
        return BROKEN(k, "%llu points are visible, %llu counted, %llu admitted",
                      (unsigned long long)out->points, (unsigned long long)counted,
                      (unsigned long long)admit->point_count);
    if (admit->ids.count != k->slots - admit->free.count - nameless)
        return BROKEN(k, "the id table has %zu entries for %u slots", admit->ids.count,
                      k->slots - admit->free.count - nameless);
    if (admit->codes.count != k->nodes)
        return BROKEN(k, "the code table has %zu entries for %llu nodes", admit->codes.count,
                      (unsigned long long)k->nodes);
    return OMEN_OK;
}

static void count_reached(struct check *k, struct omen_validation *out)
{
    const struct omen_cells *cells = &k->c->cells;
    uint32_t pending = 0;

    memset(k->reached, 0, k->slots);
    for (uint32_t i = 0; i < cells->count; i++) {
        k->reached[omen_cells_pivot(cells, i)] = 1;
        k->pending[pending++] = omen_cells_pivot(cells, i);
    }
    while (pending > 0) {
        uint32_t links[OMEN_ROW_LINKS];
        uint32_t slot = k->pending[--pending];
        uint32_t count = omen_row_read(omen_graph_row(&k->c->graph, slot), links);

        out->reached_by_links += state_of(k, slot) == OMEN_NODE_LINKED;
        for (uint32_t i = 0; i < count; i++) {
            if (k->reached[links[i]] != 0) continue;
            k->reached[links[i]] = 1;
            k->pending[pending++] = links[i];
        }
    }
}
