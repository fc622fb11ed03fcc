/* admit_write.c - what a chunk does: points are placed in slots, replaced, deleted.
 *
 * A chunk, step by step: room for all of it (memory first, so that nothing is half done) -> for
 * each point: is its id there (a refusal, or the old point dies), does a living node have the same
 * code and scale (it joins that node as a duplicate and gets no links), else a node of its own ->
 * originals -> deletes.
 *
 * Why duplicates are kept out of the graph: 40,000 copies among 60,000 points left 38,000 nodes
 * unreachable, all links staying inside the group. Re-ranking scans the chain instead.
 *
 * Writing a point again as it is changes nothing but its time to live: feeding the same data twice
 * costs no graph work.
 */
#include <string.h>

#include "engine/admit.h"
#include "engine/collection.h"
#include "engine/id.h"
#include "engine/memory.h"
#include <xxhash.h>

/* Rows of the chunk whose slots follow one another, not yet among the originals. */
struct run {
    uint32_t row, slot, count;
};

static omen_code reserve(omen_collection *c, const omen_chunk *chunk, omen_error *err);
static omen_code write_point(omen_collection *c, omen_chunk *chunk, uint32_t row, struct run *run,
                             omen_error *err);
static bool is_unchanged(omen_collection *c, const omen_chunk *chunk, uint32_t row, uint32_t slot);
static omen_code mend_original(omen_collection *c, const omen_chunk *chunk, uint32_t row,
                               uint32_t slot, omen_error *err);
static void set_expiry(omen_collection *c, const omen_chunk *chunk, uint32_t row, uint32_t slot);
static void place_point(omen_collection *c, omen_chunk *chunk, uint32_t row, uint32_t slot,
                        uint32_t hash);
static omen_code flush(omen_collection *c, const omen_chunk *chunk, struct run *run,
                       omen_error *err);

static uint64_t original_hash(const omen_chunk *chunk, uint32_t row)
{
    return omen_original_hash(chunk->vectors + (size_t)row * chunk->dim, chunk->dim);
}

static uint32_t code_hash(const uint8_t *code, size_t stride)
{
    return (uint32_t)XXH3_64bits(code, stride);
}

uint32_t omen_admit_code_hash(const omen_collection *collection, uint32_t slot)
{
    return code_hash(omen_graph_code(&collection->graph, slot), collection->graph.stride);
}

omen_code omen_admit_write(omen_collection *collection, omen_chunk *chunk, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    struct run run = {0};
    omen_code code = reserve(collection, chunk, err);

    atomic_store_explicit(&collection->hash_bytes,
                          omen_slot_table_bytes(&admit->ids) + omen_slot_table_bytes(&admit->codes),
                          memory_order_relaxed);
    for (uint32_t row = 0; row < chunk->count && code == OMEN_OK; row++)
        code = write_point(collection, chunk, row, &run, err);
    if (code == OMEN_OK) code = flush(collection, chunk, &run, err);
    for (uint32_t i = 0; i < chunk->delete_count && code == OMEN_OK; i++) {
        struct omen_id id = omen_id_of(chunk->deletes[i].id, chunk->deletes[i].keyed);
        uint32_t slot = omen_admit_find_id(collection, &id);

        if (slot != OMEN_SLOT_NONE) omen_admit_kill(collection, slot);
    }
    return code;
}

uint32_t omen_admit_find_id(const omen_collection *collection, const struct omen_id *id)
{
    const struct omen_graph *graph = &collection->graph;
    const struct omen_slot_array *array = omen_slot_table_array(&collection->admit.ids);
    uint32_t hash = omen_id_hash(id);
    size_t cursor = hash;

    for (;;) {
        uint32_t slot = omen_slot_array_next(array, hash, &cursor);

        if (slot == OMEN_SLOT_NONE) return slot;
        if (omen_graph_died(graph, slot) != OMEN_EPOCH_NEVER) continue;
        struct omen_id there = omen_graph_id_of(graph, slot);
        if (omen_id_equal(&there, id)) return slot;
    }
}

static uint32_t find_code(const omen_collection *c, const uint8_t *code, float scale, uint32_t hash)
{
    const struct omen_slot_array *array = omen_slot_table_array(&c->admit.codes);
    size_t cursor = hash;
    uint32_t slot;

    if (!OMEN_TRICK_DUPLICATES) return OMEN_SLOT_NONE;
    do {
        slot = omen_slot_array_next(array, hash, &cursor);
    } while (slot != OMEN_SLOT_NONE &&
             (memcmp(&omen_graph_meta(&c->graph, slot)->scale, &scale, sizeof scale) != 0 ||
              memcmp(omen_graph_code(&c->graph, slot), code, c->graph.stride) != 0));
    return slot;
}

uint32_t omen_admit_find_code(const omen_collection *collection, const uint8_t *code, float scale)
{
    return find_code(collection, code, scale, code_hash(code, collection->graph.stride));
}

omen_code omen_admit_reserve_deaths(struct omen_admit *admit, uint32_t deaths, omen_error *err)
{
    omen_code code =
        omen_slots_reserve(&admit->dead, 2 * deaths, err); /* a duplicate and its head */

    if (code == OMEN_OK) code = omen_slots_reserve(&admit->unerased, deaths, err);
    if (code == OMEN_OK) code = omen_slots_reserve(&admit->open->retired, deaths, err);
    if (code == OMEN_OK) code = omen_slots_reserve(&admit->open->leavers, deaths, err);
    return code;
}

bool omen_admit_expires(const omen_collection *collection, const struct omen_expiry_entry *entry)
{
    const struct omen_graph *graph = &collection->graph;

    return omen_graph_born(graph, entry->slot) == entry->born &&
           omen_graph_died(graph, entry->slot) == OMEN_EPOCH_NEVER &&
           atomic_load_explicit(omen_graph_expires(graph, entry->slot), memory_order_relaxed) ==
               entry->at;
}

static bool expires(const void *user, const struct omen_expiry_entry *entry)
{
    return omen_admit_expires(user, entry);
}

/* Points whose time is set again and again leave an entry each time: they are dropped before the
 * heap grows. */
static omen_code reserve_expiry(omen_collection *c, uint32_t more, omen_error *err)
{
    struct omen_expiry *expiry = &c->admit.expiry;

    if (more <= expiry->capacity - expiry->count) return OMEN_OK;
    omen_expiry_keep(expiry, expires, c);
    /* As much room again as is used, so that the next time is far away. */
    return omen_expiry_reserve(expiry, more > expiry->count ? more : expiry->count, err);
}

static omen_code reserve(omen_collection *c, const omen_chunk *chunk, omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    uint64_t end = (uint64_t)admit->slot_count + chunk->count;
    omen_code code = omen_slot_table_reserve(&admit->ids, chunk->count, err);

    end = end < admit->free.count ? 0 : end - admit->free.count;
    if (end < admit->slot_count) end = admit->slot_count;
    if (end > OMEN_SLOTS_MAX) end = OMEN_SLOTS_MAX;
    if (code == OMEN_OK) code = omen_slot_table_reserve(&admit->codes, chunk->count, err);
    if (code == OMEN_OK) code = omen_slots_reserve(&admit->open->placed, chunk->count, err);
    if (code == OMEN_OK && chunk->expires != NULL) code = reserve_expiry(c, chunk->count, err);
    if (code == OMEN_OK && (chunk->mode != OMEN_WRITE_INSERT_ONLY || chunk->delete_count > 0))
        code = omen_admit_reserve_deaths(admit, chunk->count + chunk->delete_count, err);
    if (code == OMEN_OK) code = omen_graph_reserve(&c->graph, (uint32_t)end, err);
    return code;
}

static omen_code write_point(omen_collection *c, omen_chunk *chunk, uint32_t row, struct run *run,
                             omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    bool keyed = omen_chunk_is_keyed(chunk, row);
    struct omen_id id = omen_id_of(chunk->ids[row], keyed);
    uint32_t old = omen_admit_find_id(c, &id);
    enum omen_refusal refusal = 0;
    omen_code code = OMEN_OK;
    uint32_t slot;

    if (old != OMEN_SLOT_NONE && chunk->mode == OMEN_WRITE_INSERT_ONLY)
        refusal = OMEN_REFUSED_EXISTS;
    else if (old == OMEN_SLOT_NONE && chunk->mode == OMEN_WRITE_UPDATE_ONLY)
        refusal = OMEN_REFUSED_UNKNOWN;
    else if (admit->free.count == 0 && admit->slot_count == OMEN_SLOTS_MAX)
        refusal = OMEN_REFUSED_FULL;
    if (refusal != 0) {
        if (omen_chunk_note(chunk, chunk->indexes[row], chunk->ids[row], keyed, refusal))
            return OMEN_OK;
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the item errors of a chunk");
    }
    if (old != OMEN_SLOT_NONE && is_unchanged(c, chunk, row, old)) {
        set_expiry(c, chunk, row, old);
        return mend_original(c, chunk, row, old, err);
    }
    if (old != OMEN_SLOT_NONE) omen_admit_kill(c, old);
    slot = admit->free.count > 0 ? admit->free.slots[--admit->free.count] : admit->slot_count++;
    if (run->count > 0 && (row != run->row + run->count || slot != run->slot + run->count))
        code = flush(c, chunk, run, err);
    if (run->count == 0) *run = (struct run){.row = row, .slot = slot};
    run->count++;
    place_point(c, chunk, row, slot, omen_id_hash(&id));
    return code;
}

static omen_code flush(omen_collection *c, const omen_chunk *chunk, struct run *run,
                       omen_error *err)
{
    uint32_t count = run->count;

    run->count = 0;
    if (count == 0) return OMEN_OK;
    return omen_originals_write(&c->originals, run->slot, count,
                                chunk->vectors + (size_t)run->row * chunk->dim, err);
}

/* Originals are compared by their hash, since the log alone must decide: in a replay from a
 * checkpoint the row of a slot may have been erased or used again already. A point of the open
 * epoch counts as changed. */
static bool is_unchanged(omen_collection *c, const omen_chunk *chunk, uint32_t row, uint32_t slot)
{
    struct omen_code_meta meta = chunk->metas[row];

    return omen_graph_born(&c->graph, slot) != c->admit.epoch_number &&
           memcmp(omen_graph_meta(&c->graph, slot), &meta, sizeof meta) == 0 &&
           memcmp(omen_graph_code(&c->graph, slot), chunk->codes + row * chunk->stride,
                  chunk->stride) == 0 &&
           *omen_graph_original_hash(&c->graph, slot) == original_hash(chunk, row);
}

/* What came again is what a damaged row ought to be. A reader leaves it out until it is written. */
static omen_code mend_original(omen_collection *c, const omen_chunk *chunk, uint32_t row,
                               uint32_t slot, omen_error *err)
{
    if (!omen_doubts_knows_damage(c->originals.doubts, slot)) return OMEN_OK;
    return omen_originals_write(&c->originals, slot, 1, chunk->vectors + (size_t)row * chunk->dim,
                                err);
}

static void set_expiry(omen_collection *c, const omen_chunk *chunk, uint32_t row, uint32_t slot)
{
    uint32_t at = chunk->expires == NULL ? 0 : chunk->expires[row];

    atomic_store_explicit(omen_graph_expires(&c->graph, slot), at, memory_order_relaxed);
    if (at == 0) return;
    omen_expiry_add(&c->admit.expiry,
                    (struct omen_expiry_entry){at, slot, omen_graph_born(&c->graph, slot)});
}

/* Writes the slot's data. Nobody can reach the slot yet: a linked one waits for LINK, a duplicate
 * for the applier to put it into its chain, and its id is entered last. */
static void place_point(omen_collection *c, omen_chunk *chunk, uint32_t row, uint32_t slot,
                        uint32_t hash)
{
    struct omen_admit *admit = &c->admit;
    const struct omen_graph *graph = &c->graph;
    const uint8_t *code = chunk->codes + row * chunk->stride;
    struct omen_code_meta meta = chunk->metas[row];
    uint32_t code_key = code_hash(code, chunk->stride);
    uint32_t head = find_code(c, code, meta.scale, code_key);
    uint8_t flags = head == OMEN_SLOT_NONE ? OMEN_SLOT_LINKED : OMEN_SLOT_DUPLICATE;

    memcpy(omen_graph_code(graph, slot), code, chunk->stride);
    *omen_graph_meta(graph, slot) = meta;
    *omen_graph_id(graph, slot) = chunk->ids[row];
    if (omen_chunk_is_keyed(chunk, row)) {
        flags |= OMEN_SLOT_KEYED;
        chunk->keyed[row] = 0; /* the key is the slot's now */
    }
    *omen_graph_flags(graph, slot) = flags;
    *omen_graph_inverse_length(graph, slot) = chunk->inverse_lengths[row];
    *omen_graph_original_hash(graph, slot) = original_hash(chunk, row);
    omen_graph_set_born(graph, slot, admit->epoch_number);
    set_expiry(c, chunk, row, slot);
    omen_row_set_count(omen_graph_row(graph, slot), 0);
    atomic_store_explicit(omen_graph_chain(graph, slot), OMEN_SLOT_NONE, memory_order_relaxed);
    if (c->settings.metric == OMEN_METRIC_INNER_PRODUCT)
        admit->phi_squared = omen_code_phi_squared(admit->phi_squared, meta.norm);
    if (head == OMEN_SLOT_NONE) {
        *omen_graph_copies(graph, slot) = 1;
        *omen_graph_home(graph, slot) = OMEN_CELL_NONE; /* PROPOSE finds one */
        omen_slot_table_add(&admit->codes, code_key, slot);
    } else {
        *omen_graph_copies(graph, slot) = 0;
        *omen_graph_home(graph, slot) = head;
        ++*omen_graph_copies(graph, head);
    }
    omen_slot_table_add(&admit->ids, hash, slot);
    omen_slots_add(&admit->open->placed, slot);
    admit->point_count++;
}

void omen_admit_kill(omen_collection *collection, uint32_t slot)
{
    struct omen_admit *admit = &collection->admit;
    const struct omen_graph *graph = &collection->graph;
    uint8_t flags = *omen_graph_flags(graph, slot);
    uint32_t head = (flags & OMEN_SLOT_LINKED) != 0 ? slot : *omen_graph_home(graph, slot);

    omen_graph_set_died(graph, slot, admit->epoch_number);
    omen_slots_add(&admit->unerased, slot);
    if (admit->death_s == 0) admit->death_s = admit->clock_s > 0 ? admit->clock_s : 1;
    admit->point_count--;
    if (--*omen_graph_copies(graph, head) > 0) {
        if (slot == head) return; /* it goes on carrying the others */
        omen_slots_add(&admit->dead, slot);
        if (omen_graph_born(graph, slot) < admit->epoch_number)
            omen_slots_add(&admit->open->leavers, slot);
        return;
    }
    omen_slot_table_remove(&admit->codes,
                           code_hash(omen_graph_code(graph, head), collection->graph.stride), head);
    omen_slots_add(&admit->dead, head);
    if (slot != head) omen_slots_add(&admit->dead, slot);
    flags = *omen_graph_flags(graph, head);
    if ((flags & OMEN_SLOT_IN_GRAPH) == 0) return; /* of this very epoch: never linked */
    omen_slots_add(&admit->open->retired, head);
    if ((flags & OMEN_SLOT_PIVOT) != 0) admit->living_pivots--;
}
