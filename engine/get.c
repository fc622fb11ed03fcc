/* get.c - points by id, as of the published epoch; see engine.h.
 *
 * Readers share ADMIT's table of ids without a lock (slot_table.h). An id may have several entries,
 * one for each version of the point that is not recycled yet; at most one of them is visible in any
 * epoch.
 */
#include <string.h>

#include "engine/collection.h"
#include "engine/id.h"
#include "engine/scrubber.h"

static uint32_t find_visible(const omen_collection *c, const struct omen_slot_array *array,
                             const struct omen_id *id, uint32_t epoch)
{
    uint32_t hash = omen_id_hash(id);
    size_t cursor = hash;

    for (;;) {
        uint32_t slot = omen_slot_array_next(array, hash, &cursor);

        if (slot == OMEN_SLOT_NONE) return slot;
        if (!omen_graph_visible(&c->graph, slot, epoch)) continue;
        struct omen_id there = omen_graph_id_of(&c->graph, slot);
        if (omen_id_equal(&there, id)) return slot;
    }
}

/* Every vector that is read is compared with its hash: who asks for it by name wants it as it was
 * sent, and a copy of it costs more. */
static omen_code copy_vector(const omen_collection *c, uint32_t slot, float *out, omen_error *err)
{
    const struct omen_originals *o = &c->originals;
    const struct omen_id id = omen_graph_id_of(&c->graph, slot);
    char point[OMEN_ID_TEXT_BYTES];

    omen_original_copy(o, slot, out);
    if (omen_original_check(c, slot, out)) return OMEN_OK;
    memset(out, 0, c->settings.dim * sizeof *out);
    omen_id_describe(&id, point);
    return omen_fail_because(err, OMEN_DATA_LOSS, "VECTOR_DAMAGED",
                             "the vector of point %s is damaged: slot %u, offset %llu of %s; "
                             "write the point again",
                             point, slot, (unsigned long long)slot * o->row_bytes,
                             omen_originals_name(o->half));
}

omen_code omen_collection_get_points(omen_collection *collection, const struct omen_id *ids,
                                     uint32_t count, struct omen_got *out, float *vectors,
                                     uint64_t *log_position, omen_error *err)
{
    const struct omen_published *p = &collection->published;
    uint32_t dim = collection->settings.dim;
    const struct omen_slot_array *array;
    omen_code code = OMEN_OK;
    uint32_t pin;
    uint32_t epoch;

    if (count > OMEN_GET_IDS_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "the request has %u ids; it has at most %u", count,
                                 OMEN_GET_IDS_MAX);
    pin = omen_grace_enter(&collection->grace);
    *log_position = atomic_load_explicit(&p->position, memory_order_acquire);
    epoch = atomic_load_explicit(&p->epoch, memory_order_acquire);
    array = omen_slot_table_array(&collection->admit.ids); /* after the epoch: it covers it */
    for (uint32_t i = 0; i < count && code == OMEN_OK; i++) {
        uint32_t slot = find_visible(collection, array, &ids[i], epoch);

        out[i] = (struct omen_got){.found = slot != OMEN_SLOT_NONE};
        if (slot == OMEN_SLOT_NONE) continue;
        out[i].expires_s = atomic_load_explicit(omen_graph_expires(&collection->graph, slot),
                                                memory_order_relaxed);
        if (vectors != NULL) code = copy_vector(collection, slot, vectors + (size_t)i * dim, err);
    }
    omen_grace_leave(&collection->grace, pin);
    return code;
}
