/* recycle.c - what a CHECKPOINT record means for slots that are not needed any more; see admit.h.
 *
 * Which slots are swept when depends on counts that ADMIT has, so on the log alone; the applier
 * then does the sweeping (sweep.c), which goes over all rows. It is worth that once the dead are a
 * sixteenth of the living, or have waited for eight boundaries, or a SETTINGS record has asked for
 * it (before a checkpoint is written to a file, so that nothing of the dead is in it).
 *
 * The originals of points that died before the last boundary are erased here, whether or not their
 * slots are swept.
 */
#include "engine/admit.h"
#include "engine/collection.h"
#include "engine/id.h"
#include "engine/memory.h"

#define SWEEP_SHARE      16u
#define QUIET_BOUNDARIES 8u

static omen_code erase_originals(omen_collection *c, omen_error *err);
static omen_code free_swept(omen_collection *c, omen_error *err);
static bool sweep_is_due(struct omen_admit *admit);
static uint32_t find_pivot_to_keep(const omen_collection *c);
static void reverse(struct omen_slots *list);

omen_code omen_admit_recycle(omen_collection *collection, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    uint32_t dead = admit->dead.count;
    uint32_t keep = OMEN_SLOT_NONE;
    omen_code code = omen_slots_reserve(&admit->swept, dead, err);

    if (code == OMEN_OK) code = omen_slots_reserve(&admit->open->swept, dead, err);
    if (code == OMEN_OK) code = erase_originals(collection, err);
    if (code == OMEN_OK) code = free_swept(collection, err);
    if (code != OMEN_OK || !sweep_is_due(admit)) return code;
    if (admit->living_pivots == 0) keep = find_pivot_to_keep(collection);
    admit->dead.count = 0;
    for (uint32_t i = 0; i < dead; i++) {
        uint32_t slot = admit->dead.slots[i];

        if (slot == keep) continue;
        omen_slots_add(&admit->swept, slot);
        omen_slots_add(&admit->open->swept, slot);
        if ((*omen_graph_flags(&collection->graph, slot) & OMEN_SLOT_PIVOT) != 0) admit->pivots--;
    }
    if (keep != OMEN_SLOT_NONE) omen_slots_add(&admit->dead, keep);
    omen_slots_sort(&admit->open->swept);
    return OMEN_OK;
}

/* No reader from before the last boundary is left. */
static omen_code erase_originals(omen_collection *c, omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    const struct omen_slots erased = admit->erasable;
    omen_code code = OMEN_OK;

    omen_slots_sort(&admit->erasable);
    code = omen_originals_erase(&c->originals, &admit->erasable, err);
    if (code != OMEN_OK) return code;
    admit->erasable = admit->unerased;
    admit->unerased = erased;
    admit->unerased.count = 0;
    return OMEN_OK;
}

/* Swept at the last boundary. */
static omen_code free_swept(omen_collection *c, omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    omen_code code = omen_slots_reserve(&admit->free, admit->swept.count, err);

    if (code != OMEN_OK) return code;
    omen_slot_table_recycle(&admit->ids);
    omen_slot_table_recycle(&admit->codes);
    omen_slots_sort(&admit->swept);
    for (uint32_t i = 0; i < admit->swept.count; i++) {
        uint32_t slot = admit->swept.slots[i];
        struct omen_id id = omen_graph_id_of(&c->graph, slot);

        if ((*omen_graph_flags(&c->graph, slot) & OMEN_SLOT_NAMELESS) == 0)
            omen_slot_table_remove(&admit->ids, omen_id_hash(&id), slot);
        if (id.key_bytes > 0) omen_free((void *)(uintptr_t)*omen_graph_id(&c->graph, slot));
        *omen_graph_id(&c->graph, slot) = 0;
        *omen_graph_flags(&c->graph, slot) = 0;
        omen_slots_add(&admit->free, slot);
    }
    if (admit->swept.count > 0) {
        omen_slots_sort(&admit->free);
        reverse(&admit->free);
    }
    admit->swept.count = 0;
    return OMEN_OK;
}

static bool sweep_is_due(struct omen_admit *admit)
{
    const bool asked = admit->sweep_asked;

    admit->sweep_asked = false;
    if (admit->dead.count == 0) return false;
    if (!asked && (uint64_t)admit->dead.count * SWEEP_SHARE < admit->point_count &&
        ++admit->quiet_boundaries < QUIET_BOUNDARIES)
        return false;
    admit->quiet_boundaries = 0;
    return true;
}

/* When no pivot lives, a dead one goes on routing until there is another. */
static uint32_t find_pivot_to_keep(const omen_collection *c)
{
    uint32_t keep = OMEN_SLOT_NONE;

    for (uint32_t i = 0; i < c->admit.dead.count; i++) {
        uint32_t slot = c->admit.dead.slots[i];

        if ((*omen_graph_flags(&c->graph, slot) & OMEN_SLOT_PIVOT) != 0 && slot < keep) keep = slot;
    }
    return keep;
}

static void reverse(struct omen_slots *list)
{
    for (uint32_t i = 0, j = list->count; i + 1 < j; i++) {
        uint32_t t = list->slots[i];

        list->slots[i] = list->slots[--j];
        list->slots[j] = t;
    }
}
