/* link.c - LINK: back-links, each shard's rows written by one thread, by ascending source.
 *
 * A row has slack: 47 links where 32 (2M) are wanted. A back-link is appended while there is room;
 * only a full row is pruned, back to 2M, by diversity selection on cached distances. That makes
 * pruning, half of a naive build, rare: one prune for about fifteen back-links.
 *
 * A reader may copy a row while it is pruned; graph.h says why that is harmless.
 */
#include "engine/epoch.h"
#include "engine/fault_point.h"

/* Rows fetched ahead of their turn. */
#define LOOK_AHEAD 8u

static void link_shards(void *context, uint32_t worker);
static void link_one(struct omen_step *step, struct omen_worker *w,
                     const struct omen_backlink *link);
static void prune(struct omen_step *step, struct omen_worker *w, const struct omen_backlink *link);
static void measure(struct omen_step *step, struct omen_worker *w, uint32_t slot, omen_key *keys,
                    uint32_t count);

omen_code omen_step_link(struct omen_step *step, omen_error *err)
{
    return omen_step_run(step, link_shards, err);
}

/* Work number i is the i-th shard. Blocks come in slot order, links in a block by source. */
static void link_shards(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    const struct omen_graph *graph = &step->collection->graph;

    for (uint32_t shard = omen_step_next(step); shard < step->shards;
         shard = omen_step_next(step)) {
        OMEN_FAULT_POINT("link");
        for (uint32_t b = 0; b < step->block_count; b++) {
#ifdef OMEN_PLANT_TIE_BUG
            /* For the test of the determinism test: links in an order that depends on the thread.
             */
            const struct omen_block *block = &step->blocks[(b + worker) % step->block_count];
#else
            const struct omen_block *block = &step->blocks[b];
#endif
            uint32_t end = block->shard_begin[shard + 1];

            for (uint32_t i = block->shard_begin[shard]; i < end; i++) {
                if (OMEN_TRICK_PREFETCH && i + LOOK_AHEAD < end) {
                    omen_graph_prefetch_row(graph, block->links[i + LOOK_AHEAD].target);
                    __builtin_prefetch(
                        omen_graph_distances(graph, block->links[i + LOOK_AHEAD].target), 1);
                }
                link_one(step, &step->workers[worker], &block->links[i]);
            }
        }
    }
}

static void link_one(struct omen_step *step, struct omen_worker *w,
                     const struct omen_backlink *link)
{
    const struct omen_graph *graph = &step->collection->graph;
    struct omen_row *row = omen_graph_row(graph, link->target);
    uint32_t count = omen_row_count(row);

    /* Two points of one epoch may have chosen each other. */
    for (uint32_t i = 0; i < count; i++) {
        if (omen_row_link(row, i) == link->source) return;
    }
    if (count == OMEN_ROW_LINKS) {
        prune(step, w, link);
        return;
    }
    omen_graph_distances(graph, link->target)->of[count] = link->distance;
    omen_row_store(row, count, link->source);
    omen_row_set_count(row, count + 1);
}

static void prune(struct omen_step *step, struct omen_worker *w, const struct omen_backlink *link)
{
    const omen_collection *c = step->collection;
    struct omen_row *row = omen_graph_row(&c->graph, link->target);
    struct omen_row_distances *distances = omen_graph_distances(&c->graph, link->target);
    omen_key keys[OMEN_ROW_LINKS + 1];
    uint32_t count = OMEN_ROW_LINKS;

    for (uint32_t i = 0; i < count; i++)
        keys[i] = omen_key_make(distances->of[i], omen_row_link(row, i));
    keys[count++] = omen_key_make(link->distance, link->source);
    if (step->epoch->phi_squared > 0.0f) {
        /* A cached distance may be older than Phi: under inner product all are computed again. */
        measure(step, w, link->target, keys, count);
    }
    omen_keys_sort(keys, count);
    count = omen_select_diverse(step, w, keys, count, 2 * c->settings.links, c->settings.links);
    for (uint32_t i = 0; i < count; i++) {
        distances->of[i] = omen_key_distance(keys[i]);
        omen_row_store(row, i, omen_key_slot(keys[i]));
    }
    omen_row_set_count(row, count);
}

/* Computes the distances of the keys' slots from `slot` again. Uses the worker's first probe. */
static void measure(struct omen_step *step, struct omen_worker *w, uint32_t slot, omen_key *keys,
                    uint32_t count)
{
    const omen_collection *c = step->collection;
    struct omen_prepared self = {.values = w->probes};
    struct omen_probe probe;

    omen_code_prepare(&c->kernels, omen_graph_code(&c->graph, slot),
                      *omen_graph_meta(&c->graph, slot), &self);
    probe = omen_prepared_probe(&self);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = omen_key_slot(keys[i]);
        struct omen_code_meta meta = *omen_graph_meta(&c->graph, other);
        int32_t dot =
            c->kernels.dot_i8_one(omen_graph_code(&c->graph, other), &probe, c->graph.stride);
        float d = omen_code_distance(self.meta, meta, dot) +
                  omen_code_augment(step->epoch->phi_squared, self.meta.norm, meta.norm);

        keys[i] = omen_key_make(d, other);
    }
}
