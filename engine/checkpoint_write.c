/* checkpoint_write.c - a capture becomes a file; see checkpoint.h.
 *
 * First the originals are synced, since the file will vouch for them; then section after section is
 * written, the arrays segment by segment, whose copies are freed as they are written. What was not
 * copied aside (codes, ids, keys) is read from the collection itself, only of slots that are in use
 * in the capture: nobody writes to those (capture.h).
 */
#include <stddef.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/id.h"
#include "engine/memory.h"
#include "engine/sections.h"
#include "engine/settings.h"

#define PART_BYTES (4u << 20) /* of what comes in several sections */

struct writing {
    const omen_collection *collection;
    struct omen_capture *capture;
    struct omen_sections_writer sections;
    char *staged; /* of an array of a segment, or keys; PART_BYTES at least */
    struct omen_array arrays[OMEN_ARRAYS_MAX];
};

static omen_code write_sections(struct writing *w, const _Atomic bool *stop, omen_error *err);
static omen_code write_parts(struct writing *w, struct omen_section section, const void *bytes,
                             uint64_t count, omen_error *err);
static omen_code write_settings(struct writing *w, omen_error *err);
static omen_code write_tuning(struct writing *w, omen_error *err);
static omen_code write_lists(struct writing *w, omen_error *err);
static omen_code write_keys(struct writing *w, uint32_t segment, omen_error *err);
static omen_code write_segment(struct writing *w, uint32_t segment, omen_error *err);
static const void *stage(struct writing *w, uint32_t segment, const struct omen_array *array);

omen_code omen_checkpoint_write(omen_collection *collection, int dir, struct omen_capture *capture,
                                const _Atomic bool *stop, uint64_t *bytes, omen_error *err)
{
    struct writing w = {.collection = collection, .capture = capture};
    const uint32_t count = omen_graph_arrays(&collection->graph, w.arrays);
    char name[OMEN_CHECKPOINT_NAME_BYTES];
    size_t room = PART_BYTES;
    omen_code code = omen_originals_sync(&collection->originals, err);

    if (code != OMEN_OK) return code;
    for (uint32_t i = 0; i < count; i++)
        if (w.arrays[i].slot_bytes * OMEN_SEGMENT_SLOTS > room)
            room = w.arrays[i].slot_bytes * OMEN_SEGMENT_SLOTS;
    w.staged = omen_pages_map(room);
    if (w.staged == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%zu bytes to write a checkpoint by", room);
    omen_checkpoint_name(capture->state.position, name);
    code = omen_sections_create(omen_collection_storage(collection), dir, name,
                                capture->state.position, &w.sections, err);
    if (code == OMEN_OK) {
        code = write_sections(&w, stop, err);
        *bytes = w.sections.offset;
        if (code == OMEN_OK)
            code = omen_sections_finish(&w.sections, err);
        else
            omen_sections_abandon(&w.sections);
    }
    omen_pages_unmap(w.staged, room);
    return code;
}

static omen_code write_sections(struct writing *w, const _Atomic bool *stop, omen_error *err)
{
    struct omen_capture *capture = w->capture;
    const struct omen_section state = {.type = OMEN_CHECKPOINT_STATE};
    const struct omen_section expiry = {.type = OMEN_CHECKPOINT_EXPIRY};
    const struct omen_section sessions = {.type = OMEN_CHECKPOINT_SESSIONS,
                                          .version = OMEN_CHECKPOINT_VERSION,
                                          .length = capture->sessions.count};
    const struct omen_section cells = {.type = OMEN_CHECKPOINT_CELLS};
    omen_code code = write_parts(w, state, &capture->state, sizeof capture->state, err);

    if (code == OMEN_OK) code = write_settings(w, err);
    if (code == OMEN_OK) code = write_tuning(w, err);
    if (code == OMEN_OK) code = write_lists(w, err);
    if (code == OMEN_OK)
        code = write_parts(w, expiry, capture->expiry.bytes, capture->expiry.count, err);
    if (code == OMEN_OK)
        code = omen_sections_write(&w->sections, &sessions, capture->sessions.bytes, err);
    for (uint32_t s = 0; s < capture->segment_count && code == OMEN_OK; s++) {
        if (atomic_load_explicit(stop, memory_order_relaxed))
            return omen_fail(err, OMEN_CANCELLED, "the engine is closed");
        code = write_segment(w, s, err);
        omen_capture_drop_segment(capture, s);
    }
    if (code == OMEN_OK)
        code = write_parts(w, cells, capture->cells.bytes, capture->cells.count, err);
    return code;
}

/* In as many sections as it takes; each but the last has a multiple of 12, 8 and 4 bytes, so that
 * no entry of a list is cut in two. */
static omen_code write_parts(struct writing *w, struct omen_section section, const void *bytes,
                             uint64_t count, omen_error *err)
{
    const char *at = bytes;
    omen_code code = OMEN_OK;

    if (section.version == 0) section.version = OMEN_CHECKPOINT_VERSION;
    while (count > 0 && code == OMEN_OK) {
        section.length = count < PART_BYTES / 24 * 24 ? count : PART_BYTES / 24 * 24;
        code = omen_sections_write(&w->sections, &section, at, err);
        at += section.length;
        count -= section.length;
    }
    return code;
}

static omen_code write_settings(struct writing *w, omen_error *err)
{
    const omen_collection *c = w->collection;
    const struct omen_section section = {.type = OMEN_CHECKPOINT_SETTINGS,
                                         .version = OMEN_ALGORITHM_VERSION};
    uint8_t payload[OMEN_SETTINGS_BYTES_MAX];
    size_t length =
        omen_settings_write(payload, OMEN_ALGORITHM_VERSION, c->name, c->incarnation, &c->settings);

    return write_parts(w, section, payload, length, err);
}

static omen_code write_tuning(struct writing *w, omen_error *err)
{
    const struct omen_section section = {.type = OMEN_CHECKPOINT_TUNING};
    uint8_t payload[OMEN_SETTINGS_CHANGE_BYTES];
    size_t length = omen_settings_write_tuning(payload, &w->capture->tuning);

    return write_parts(w, section, payload, length, err);
}

static omen_code write_lists(struct writing *w, omen_error *err)
{
    omen_code code = OMEN_OK;

    omen_slots_sort(&w->capture->lists[OMEN_LIST_SWEPT]); /* for stage(); its order is of no use */
    for (uint32_t i = 0; i < OMEN_LISTS && code == OMEN_OK; i++) {
        const struct omen_slots *list = &w->capture->lists[i];

        code = write_parts(w, (struct omen_section){.type = OMEN_CHECKPOINT_LIST, .index = i},
                           list->slots, (uint64_t)list->count * sizeof *list->slots, err);
    }
    return code;
}

static omen_code write_keys(struct writing *w, uint32_t segment, omen_error *err)
{
    const uint8_t *flags = w->capture->segments[segment].flags;
    const uint32_t slots = omen_capture_slots(w->capture, segment);
    struct omen_section section = {
        .type = OMEN_CHECKPOINT_KEYS, .version = OMEN_CHECKPOINT_VERSION, .index = segment};

    _Static_assert(OMEN_SEGMENT_SLOTS * (sizeof(uint32_t) + 1 + OMEN_KEY_BYTES_MAX) <= PART_BYTES,
                   "the keys of a segment fit");
    for (uint32_t i = 0; i < slots; i++) {
        const uint32_t slot = segment * OMEN_SEGMENT_SLOTS + i;
        const struct omen_key_text *key;

        if ((flags[i] & OMEN_SLOT_KEYED) == 0) continue;
        key = (const struct omen_key_text *)(uintptr_t)*omen_graph_id(&w->collection->graph, slot);
        memcpy(w->staged + section.length, &slot, sizeof slot);
        memcpy(w->staged + section.length + sizeof slot, key, 1u + key->length);
        section.length += sizeof slot + 1 + key->length;
    }
    if (section.length == 0) return OMEN_OK;
    return omen_sections_write(&w->sections, &section, w->staged, err);
}

static omen_code write_segment(struct writing *w, uint32_t segment, omen_error *err)
{
    const uint32_t slots = omen_capture_slots(w->capture, segment);
    omen_code code = OMEN_OK;

    for (uint32_t i = 0; i < w->capture->state.arrays && code == OMEN_OK; i++) {
        const struct omen_array *array = &w->arrays[i];
        const struct omen_section section = {.type = OMEN_CHECKPOINT_ARRAY + array->number,
                                             .version = OMEN_CHECKPOINT_VERSION,
                                             .index = segment,
                                             .length = slots * array->slot_bytes};
        const void *bytes = array->writer == OMEN_ARRAY_FIXED
                                ? stage(w, segment, array)
                                : omen_segment_array(&w->capture->segments[segment], array);

        code = omen_sections_write(&w->sections, &section, bytes, err);
    }
    return code == OMEN_OK ? write_keys(w, segment, err) : code;
}

/* A copy of what is fixed of the slots in use; of swept ones nothing is left. */
static const void *stage(struct writing *w, uint32_t segment, const struct omen_array *array)
{
    const char *from = omen_segment_array(&w->collection->graph.directory[segment], array);
    const struct omen_slots *swept = &w->capture->lists[OMEN_LIST_SWEPT];
    const uint8_t *flags = w->capture->segments[segment].flags;
    const uint32_t slots = omen_capture_slots(w->capture, segment);
    const size_t bytes = array->slot_bytes;
    struct omen_capture_runs runs;
    uint32_t first = 0;
    uint32_t n;

    memset(w->staged, 0, slots * bytes);
    omen_capture_runs_init(&runs, w->capture, segment);
    while ((n = omen_capture_runs_next(&runs, &first)) > 0)
        memcpy(w->staged + omen_graph_offset(first) * bytes,
               from + omen_graph_offset(first) * bytes, n * bytes);
    for (uint32_t i = omen_slots_find(swept, segment * OMEN_SEGMENT_SLOTS);
         i < swept->count && swept->slots[i] / OMEN_SEGMENT_SLOTS == segment; i++)
        memset(w->staged + omen_graph_offset(swept->slots[i]) * bytes, 0, bytes);
    if (array->pointer_at != offsetof(struct omen_segment, ids)) return w->staged;
    for (uint32_t i = 0; i < slots; i++)
        if ((flags[i] & (OMEN_SLOT_KEYED | OMEN_SLOT_NAMELESS)) != 0)
            memset(w->staged + i * bytes, 0, bytes);
    return w->staged;
}
