/* checkpoint_read.c - a file becomes a collection; see checkpoint.h.
 *
 * Sections are read straight to where they belong, with their checksums checked on the way. What
 * the file says is believed only as far as it cannot lead outside of an array: numbers of slots and
 * cells are looked at, whether the graph makes sense is not (validate.c does that).
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/id.h"
#include "engine/memory.h"
#include "engine/sections.h"
#include "engine/settings.h"

struct reading {
    omen_collection *collection;
    struct omen_sections_reader sections;
    struct omen_checkpoint_state state;
    char *buffer; /* OMEN_SECTION_BYTES_MAX of address space, for what is not read in place */
    struct omen_array arrays[OMEN_ARRAYS_MAX];
    uint32_t *arrays_read; /* of each segment: a bit for each array */
    uint32_t list_rest[OMEN_LISTS], expiry_rest, sessions_rest, keys_rest; /* still to come */
    enum { CELL_PIVOT, CELL_COUNT, CELL_MEMBERS } cell_next; /* what the next word of CELLS is */
    uint32_t members_rest;                                   /* of the last cell */
    struct omen_tuning tuning;
    bool began, settled; /* STATE was read; SETTINGS was */
};

static omen_code read_sections(struct reading *r, omen_error *err);
static omen_code read_section(struct reading *r, const struct omen_section *section,
                              omen_error *err);
static omen_code read_state(struct reading *r, const struct omen_section *section, omen_error *err);
static omen_code read_settings(struct reading *r, const struct omen_section *section,
                               omen_error *err);
static omen_code read_tuning(struct reading *r, const struct omen_section *section,
                             omen_error *err);
static omen_code read_list(struct reading *r, const struct omen_section *section, omen_error *err);
static omen_code read_expiry(struct reading *r, const struct omen_section *section,
                             omen_error *err);
static omen_code read_sessions(struct reading *r, const struct omen_section *section,
                               omen_error *err);
static omen_code read_keys(struct reading *r, const struct omen_section *section, omen_error *err);
static omen_code read_cells(struct reading *r, const struct omen_section *section, omen_error *err);
static omen_code read_array(struct reading *r, const struct omen_section *section, omen_error *err);
static omen_code check_complete(const struct reading *r, omen_error *err);
static omen_code check_slots(const struct reading *r, omen_error *err);
static omen_code finish(struct reading *r, omen_error *err);

/* The checksum was right, so this is a fault of ours, or an attack. */
OMEN_CHECKED OMEN_PRINTF(3, 4) static omen_code
    senseless(const struct reading *r, omen_error *err, const char *format, ...)
{
    char what[160];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return omen_fail(err, OMEN_DATA_LOSS, "%s makes no sense: %s", r->sections.name, what);
}

omen_code omen_checkpoint_read(omen_collection *collection, int dir, uint64_t position,
                               omen_error *err)
{
    struct reading r = {.collection = collection};
    char name[OMEN_CHECKPOINT_NAME_BYTES];
    omen_code code;

    omen_checkpoint_name(position, name);
    code = omen_sections_open(omen_collection_storage(collection), dir, name, position, &r.sections,
                              err);
    if (code == OMEN_NOT_FOUND) code = omen_fail(err, OMEN_DATA_LOSS, "%s is missing", name);
    if (code == OMEN_OK) {
        r.buffer = omen_pages_map(OMEN_SECTION_BYTES_MAX);
        if (r.buffer == NULL)
            code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "room to read %s by", name);
    }
    if (code == OMEN_OK) code = read_sections(&r, err);
    if (code == OMEN_OK) code = check_complete(&r, err);
    if (code == OMEN_OK) code = check_slots(&r, err);
    if (code == OMEN_OK) code = finish(&r, err);
    omen_sections_close(&r.sections);
    omen_pages_unmap(r.buffer, OMEN_SECTION_BYTES_MAX);
    omen_free(r.arrays_read);
    return code;
}

static omen_code read_sections(struct reading *r, omen_error *err)
{
    for (;;) {
        struct omen_section section;
        omen_code code = omen_sections_next(&r->sections, &section, err);

        if (code != OMEN_OK || section.type == OMEN_SECTION_END) return code;
        if (section.type != OMEN_CHECKPOINT_SETTINGS && section.version > OMEN_CHECKPOINT_VERSION)
            return omen_fail(err, OMEN_UNIMPLEMENTED,
                             "%s has a section of type %u, version %u; this server reads up to %u",
                             r->sections.name, section.type, section.version,
                             OMEN_CHECKPOINT_VERSION);
        code = read_section(r, &section, err);
        if (code != OMEN_OK) return code;
        omen_collection_tell_loading(r->collection, r->sections.offset, r->sections.size);
    }
}

static omen_code read_section(struct reading *r, const struct omen_section *section,
                              omen_error *err)
{
    if (section->type == OMEN_CHECKPOINT_STATE && !r->began) return read_state(r, section, err);
    if (section->type == OMEN_CHECKPOINT_SETTINGS && r->began && !r->settled)
        return read_settings(r, section, err);
    if (!r->settled)
        return senseless(r, err, "a section of type %u comes too early", section->type);
    switch (section->type) {
    case OMEN_CHECKPOINT_TUNING:
        return read_tuning(r, section, err);
    case OMEN_CHECKPOINT_LIST:
        return read_list(r, section, err);
    case OMEN_CHECKPOINT_EXPIRY:
        return read_expiry(r, section, err);
    case OMEN_CHECKPOINT_SESSIONS:
        return read_sessions(r, section, err);
    case OMEN_CHECKPOINT_KEYS:
        return read_keys(r, section, err);
    case OMEN_CHECKPOINT_CELLS:
        return read_cells(r, section, err);
    default:
        return read_array(r, section, err);
    }
}

static uint32_t all_arrays(const struct reading *r)
{
    return (uint32_t)((1ull << r->state.arrays) - 1);
}

/* ---- what comes first ---------------------------------------------------------------------- */

static omen_code read_state(struct reading *r, const struct omen_section *section, omen_error *err)
{
    const struct omen_checkpoint_state *s = &r->state;
    omen_code code;

    if (section->length != sizeof r->state)
        return senseless(r, err, "its state has %" PRIu64 " bytes", section->length);
    code = omen_sections_read(&r->sections, &r->state, err);
    if (code != OMEN_OK) return code;
    if (s->algorithm > OMEN_ALGORITHM_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         "%s was written under algorithm version %u; this server knows %u",
                         r->sections.name, s->algorithm, OMEN_ALGORITHM_VERSION);
    if (s->position != r->sections.stamp || s->slots > OMEN_SLOTS_MAX || s->points > s->slots ||
        s->cells > s->slots || s->cells != s->pivots || s->living_pivots > s->pivots ||
        s->epoch == 0 || s->epoch >= OMEN_EPOCH_NEVER - 1 ||
        s->algorithm < OMEN_ALGORITHM_VERSION_MIN)
        return senseless(r, err,
                         "position %" PRIu64 ", %u slots, %" PRIu64 " points, %u cells, "
                         "epoch %u",
                         s->position, s->slots, s->points, s->cells, s->epoch);
    memcpy(r->list_rest, s->lists, sizeof r->list_rest);
    for (uint32_t i = 0; i < OMEN_LISTS; i++)
        if (s->lists[i] > s->slots) return senseless(r, err, "list %u is too long", i);
    r->expiry_rest = s->expiry;
    r->sessions_rest = s->sessions;
    r->keys_rest = s->keys;
    r->began = true;
    return OMEN_OK;
}

/* Makes the empty parts of the collection, too. */
static omen_code read_settings(struct reading *r, const struct omen_section *section,
                               omen_error *err)
{
    const struct omen_checkpoint_state *s = &r->state;
    omen_collection *c = r->collection;
    struct omen_settings_made made;
    const uint32_t segments = (s->slots + OMEN_SEGMENT_SLOTS - 1) / OMEN_SEGMENT_SLOTS;
    omen_code code;

    if (section->version > OMEN_ALGORITHM_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         "%s has settings of version %u; this server "
                         "knows %u",
                         r->sections.name, section->version, OMEN_ALGORITHM_VERSION);
    code = omen_sections_read(&r->sections, r->buffer, err);
    if (code == OMEN_OK)
        code = omen_settings_read((const uint8_t *)r->buffer, (size_t)section->length,
                                  section->version, &made, err);
    if (code == OMEN_OK) code = omen_collection_begin(c, &made, s->algorithm, s->slots, err);
    if (code == OMEN_OK) code = omen_graph_reserve(&c->graph, s->slots, err);
    if (code != OMEN_OK) return code;
    if (s->stride != c->graph.stride || s->arrays != omen_graph_arrays(&c->graph, r->arrays))
        return senseless(r, err, "codes of %u bytes, %u arrays", s->stride, s->arrays);
    r->arrays_read = omen_alloc_zeroed(segments * sizeof *r->arrays_read);
    if (r->arrays_read == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a list of %u segments", segments);
    c->admit.slot_count = s->slots; /* from here on its keys are freed with the collection */
    r->settled = true;
    return OMEN_OK;
}

static omen_code read_tuning(struct reading *r, const struct omen_section *section, omen_error *err)
{
    struct omen_settings_state state = {.algorithm = r->state.algorithm};
    bool tuned = false;
    omen_code code = omen_sections_read(&r->sections, r->buffer, err);

    if (code == OMEN_OK)
        code = omen_settings_change((const uint8_t *)r->buffer, (size_t)section->length, &state,
                                    &tuned, err);
    if (code == OMEN_OK) r->tuning = state.tuning;
    return code;
}

/* ---- lists --------------------------------------------------------------------------------- */

static omen_code read_list(struct reading *r, const struct omen_section *section, omen_error *err)
{
    struct omen_admit *admit = &r->collection->admit;
    struct omen_slots *lists[OMEN_LISTS] = {&admit->dead, &admit->swept, &admit->free,
                                            &admit->erasable};
    const uint32_t count = (uint32_t)(section->length / sizeof(uint32_t));
    struct omen_slots *list;
    omen_code code;

    if (section->index >= OMEN_LISTS || section->length % sizeof(uint32_t) != 0 ||
        count > r->list_rest[section->index])
        return senseless(r, err, "list %u has %" PRIu64 " bytes", section->index, section->length);
    list = lists[section->index];
    code = omen_slots_reserve(list, count, err);
    if (code == OMEN_OK) code = omen_sections_read(&r->sections, list->slots + list->count, err);
    if (code != OMEN_OK) return code;
    for (uint32_t i = list->count; i < list->count + count; i++)
        if (list->slots[i] >= r->state.slots)
            return senseless(r, err, "list %u names slot %u", section->index, list->slots[i]);
    list->count += count;
    r->list_rest[section->index] -= count;
    return OMEN_OK;
}

static omen_code read_expiry(struct reading *r, const struct omen_section *section, omen_error *err)
{
    struct omen_expiry *expiry = &r->collection->admit.expiry;
    const uint32_t count = (uint32_t)(section->length / sizeof *expiry->heap);
    omen_code code;

    if (section->length % sizeof *expiry->heap != 0 || count > r->expiry_rest)
        return senseless(r, err, "its clocks have %" PRIu64 " bytes", section->length);
    code = omen_expiry_reserve(expiry, count, err);
    if (code == OMEN_OK) code = omen_sections_read(&r->sections, expiry->heap + expiry->count, err);
    if (code != OMEN_OK) return code;
    for (uint32_t i = expiry->count; i < expiry->count + count; i++)
        if (expiry->heap[i].slot >= r->state.slots)
            return senseless(r, err, "a clock names slot %u", expiry->heap[i].slot);
    expiry->count += count;
    r->expiry_rest -= count;
    return OMEN_OK;
}

/* ---- sessions ------------------------------------------------------------------------------ */

static bool take(const char **at, const char *end, void *out, size_t bytes)
{
    if ((size_t)(end - *at) < bytes) return false;
    memcpy(out, *at, bytes);
    *at += bytes;
    return true;
}

static omen_code read_errors(struct reading *r, const char **at, const char *end,
                             struct omen_session *session, uint32_t count, omen_error *err)
{
    struct omen_sessions *sessions = &r->collection->admit.sessions;

    for (uint32_t i = 0; i < count; i++) {
        struct omen_stored_error stored;
        struct omen_item_error error = {.seq = 0};
        omen_code code;

        if (!take(at, end, &stored, sizeof stored) || stored.key_bytes > OMEN_KEY_BYTES_MAX ||
            !take(at, end, error.key, stored.key_bytes))
            return senseless(r, err, "an item error is cut short");
        error.seq = stored.seq;
        error.num = stored.num;
        error.detail = stored.detail;
        error.refusal = (enum omen_refusal)stored.refusal;
        error.index = stored.index;
        error.has_id = stored.has_id != 0;
        error.key_bytes = stored.key_bytes;
        code = omen_session_keep_errors(sessions, session, &error, 1, err);
        if (code != OMEN_OK) return code;
    }
    return OMEN_OK;
}

static omen_code read_sessions(struct reading *r, const struct omen_section *section,
                               omen_error *err)
{
    struct omen_sessions *sessions = &r->collection->admit.sessions;
    const char *at = r->buffer;
    const char *end = r->buffer + section->length;
    omen_code code = omen_sections_read(&r->sections, r->buffer, err);

    while (code == OMEN_OK && at < end) {
        struct omen_stored_session stored;
        struct omen_session *session = NULL;

        if (!take(&at, end, &stored, sizeof stored) || r->sessions_rest == 0)
            return senseless(r, err, "a session is cut short, or one too many");
        r->sessions_rest--;
        code = omen_session_touch(sessions, stored.id, stored.touched_s, &session, err);
        if (code != OMEN_OK) return code;
        session->generation = stored.generation;
        session->last_seq = stored.last_seq;
        session->last_epoch = stored.last_epoch;
        code = read_errors(r, &at, end, session, stored.error_count, err);
        session->errors_from_seq = stored.errors_from_seq;
    }
    return code;
}

/* ---- arrays, keys, cells ------------------------------------------------------------------- */

/* Until a key is there nothing may take its slot's id for the address of one. */
static omen_code read_slots(struct reading *r, const struct omen_array *array, uint32_t segment,
                            uint32_t slots, omen_error *err)
{
    struct omen_segment *into = &r->collection->graph.directory[segment];
    omen_code code = omen_sections_read(&r->sections, omen_segment_array(into, array), err);

    if (array->pointer_at != offsetof(struct omen_segment, flags)) return code;
    for (uint32_t i = 0; i < slots; i++)
        into->flags[i] &= (uint8_t)~OMEN_SLOT_KEYED;
    return code;
}

static omen_code read_array(struct reading *r, const struct omen_section *section, omen_error *err)
{
    const struct omen_checkpoint_state *s = &r->state;
    const uint32_t segment = section->index;
    uint32_t slots;

    if (segment >= (s->slots + OMEN_SEGMENT_SLOTS - 1) / OMEN_SEGMENT_SLOTS)
        return senseless(r, err, "a section of type %u, index %u", section->type, segment);
    slots = s->slots - segment * OMEN_SEGMENT_SLOTS;
    if (slots > OMEN_SEGMENT_SLOTS) slots = OMEN_SEGMENT_SLOTS;
    for (uint32_t i = 0; i < s->arrays; i++) {
        const struct omen_array *array = &r->arrays[i];

        if (section->type != OMEN_CHECKPOINT_ARRAY + array->number) continue;
        if (section->length != slots * array->slot_bytes || (r->arrays_read[segment] >> i & 1) != 0)
            return senseless(r, err, "the %s of segment %u have %" PRIu64 " bytes, or come twice",
                             array->name, segment, section->length);
        r->arrays_read[segment] |= 1u << i;
        return read_slots(r, array, segment, slots, err);
    }
    return omen_fail(err, OMEN_UNIMPLEMENTED, "%s has a section of type %u, of a newer server",
                     r->sections.name, section->type);
}

static omen_code read_keys(struct reading *r, const struct omen_section *section, omen_error *err)
{
    const struct omen_graph *graph = &r->collection->graph;
    const char *at = r->buffer;
    const char *end = r->buffer + section->length;
    omen_code code = omen_sections_read(&r->sections, r->buffer, err);

    while (code == OMEN_OK && at < end) {
        struct omen_key_text *key;
        uint32_t slot = 0;
        uint8_t length = 0;
        uint8_t bytes[OMEN_KEY_BYTES_MAX];

        if (!take(&at, end, &slot, sizeof slot) || !take(&at, end, &length, 1) || length == 0 ||
            length > OMEN_KEY_BYTES_MAX || !take(&at, end, bytes, length) ||
            slot >= r->state.slots || r->keys_rest == 0 ||
            r->arrays_read[slot / OMEN_SEGMENT_SLOTS] != all_arrays(r) ||
            (*omen_graph_flags(graph, slot) & OMEN_SLOT_KEYED) != 0)
            return senseless(r, err, "a key is cut short, or in the wrong place");
        r->keys_rest--;
        key = omen_key_text_create(bytes, length);
        if (key == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a key");
        *omen_graph_id(graph, slot) = (uint64_t)(uintptr_t)key;
        *omen_graph_flags(graph, slot) |= OMEN_SLOT_KEYED;
    }
    return code;
}

static omen_code read_cell_word(struct reading *r, uint32_t word, omen_error *err)
{
    omen_collection *c = r->collection;

    if (r->cell_next == CELL_COUNT) {
        r->members_rest = word;
        r->cell_next = word == 0 ? CELL_PIVOT : CELL_MEMBERS;
        return OMEN_OK;
    }
    if (word >= r->state.slots) return senseless(r, err, "a cell names slot %u", word);
    if (r->cell_next == CELL_MEMBERS) {
        if (--r->members_rest == 0) r->cell_next = CELL_PIVOT;
        return omen_cell_add(omen_cells_cell(&c->cells, c->cells.count - 1), word, err);
    }
    if (c->cells.count == r->state.cells ||
        r->arrays_read[word / OMEN_SEGMENT_SLOTS] != all_arrays(r))
        return senseless(r, err, "more than %u cells, or cells before codes", r->state.cells);
    r->cell_next = CELL_COUNT;
    return omen_cells_add_pivot(&c->cells, &c->graph, &c->kernels, word, err);
}

static omen_code read_cells(struct reading *r, const struct omen_section *section, omen_error *err)
{
    const uint32_t *words = (const uint32_t *)(const void *)r->buffer;
    omen_code code = omen_sections_read(&r->sections, r->buffer, err);

    if (code == OMEN_OK && section->length % sizeof *words != 0)
        return senseless(r, err, "its cells have %" PRIu64 " bytes", section->length);
    for (uint64_t i = 0; i < section->length / sizeof *words && code == OMEN_OK; i++)
        code = read_cell_word(r, words[i], err);
    return code;
}

/* ---- the end ------------------------------------------------------------------------------- */

static omen_code check_complete(const struct reading *r, omen_error *err)
{
    uint32_t rest = r->expiry_rest + r->sessions_rest + r->keys_rest + r->members_rest;

    for (uint32_t i = 0; i < OMEN_LISTS; i++)
        rest += r->list_rest[i];
    if (!r->settled) return senseless(r, err, "it has no settings");
    for (uint32_t s = 0; s * OMEN_SEGMENT_SLOTS < r->state.slots; s++)
        if (r->arrays_read[s] != all_arrays(r)) rest++;
    if (rest == 0 && r->cell_next == CELL_PIVOT && r->collection->cells.count == r->state.cells)
        return OMEN_OK;
    return senseless(r, err, "something is not there that its state counts");
}

static bool slot_makes_sense(const struct reading *r, uint32_t slot)
{
    const struct omen_graph *graph = &r->collection->graph;
    const struct omen_row *row = omen_graph_row(graph, slot);
    const uint32_t slots = r->state.slots;
    const uint32_t count = omen_row_count(row);
    const uint32_t chain =
        atomic_load_explicit(omen_graph_chain(graph, slot), memory_order_relaxed);
    const uint32_t home = *omen_graph_home(graph, slot);
    const bool duplicate = (*omen_graph_flags(graph, slot) & OMEN_SLOT_DUPLICATE) != 0;

    if (count > OMEN_ROW_LINKS || (chain >= slots && chain != OMEN_SLOT_NONE)) return false;
    if (home >= (duplicate ? slots : r->state.cells) &&
        *omen_graph_state(graph, slot) != OMEN_NODE_DEAD)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (omen_row_link(row, i) >= slots) return false;
    return true;
}

/* Nothing leads outside of an array. Slots that are free or swept, and duplicates that died, are
 * not looked at by anybody; a dead node's home is not. */
static omen_code check_slots(const struct reading *r, omen_error *err)
{
    const struct omen_graph *graph = &r->collection->graph;

    for (uint32_t slot = 0; slot < r->state.slots; slot++) {
        const uint8_t flags = *omen_graph_flags(graph, slot);
        const bool used =
            *omen_graph_state(graph, slot) != OMEN_NODE_NONE ||
            (flags & (OMEN_SLOT_DUPLICATE | OMEN_SLOT_NAMELESS)) == OMEN_SLOT_DUPLICATE;

        if (flags != 0 && used && !slot_makes_sense(r, slot))
            return senseless(r, err, "slot %u leads nowhere", slot);
    }
    return OMEN_OK;
}

/* The two tables follow from the slots. */
static omen_code fill_tables(struct reading *r, omen_error *err)
{
    omen_collection *c = r->collection;
    const struct omen_graph *graph = &c->graph;
    omen_code code = omen_slot_table_reserve(&c->admit.ids, r->state.slots, err);

    if (code == OMEN_OK) code = omen_slot_table_reserve(&c->admit.codes, r->state.slots, err);
    for (uint32_t slot = 0; slot < r->state.slots && code == OMEN_OK; slot++) {
        const uint8_t flags = *omen_graph_flags(graph, slot);
        const struct omen_id id = omen_graph_id_of(graph, slot);

        if (flags == 0) continue;
        if (omen_graph_visible(graph, slot, r->state.epoch))
            omen_doubts_add(c->originals.doubts, slot);
        if ((flags & OMEN_SLOT_NAMELESS) == 0)
            omen_slot_table_add(&c->admit.ids, omen_id_hash(&id), slot);
        if ((flags & OMEN_SLOT_LINKED) != 0 && *omen_graph_copies(graph, slot) > 0)
            omen_slot_table_add(&c->admit.codes, omen_admit_code_hash(c, slot), slot);
    }
    return code;
}

static void fill_published(struct omen_published *p, const struct omen_checkpoint_state *s)
{
    atomic_store_explicit(&p->slots, s->slots, memory_order_relaxed);
    atomic_store_explicit(&p->slots_used, s->slots - s->lists[OMEN_LIST_FREE],
                          memory_order_relaxed);
    atomic_store_explicit(&p->checkpoint_position, s->position, memory_order_relaxed);
    atomic_store_explicit(&p->points, s->points, memory_order_relaxed);
    atomic_store_explicit(&p->phi_squared, s->phi_squared, memory_order_relaxed);
    atomic_store_explicit(&p->epoch, s->epoch, memory_order_release);
    atomic_store_explicit(&p->position, s->position, memory_order_release);
}

static omen_code finish(struct reading *r, omen_error *err)
{
    const struct omen_checkpoint_state *s = &r->state;
    omen_collection *c = r->collection;
    struct omen_admit *admit = &c->admit;
    omen_code code = fill_tables(r, err);

    if (code != OMEN_OK) return code;
    admit->point_count = s->points;
    admit->pivots = s->pivots;
    admit->living_pivots = s->living_pivots;
    admit->quiet_boundaries = s->quiet_boundaries;
    admit->clock_s = s->clock_s;
    c->checkpoints.older_death_s = s->death_s;
    admit->checkpoint_bytes = s->checkpoint_bytes;
    admit->phi_squared = s->phi_squared;
    admit->checkpoint_epoch = s->epoch;
    admit->epoch_number = s->epoch + 1;
    admit->position = s->position;
    omen_admit_begin_again(admit);
    if (s->algorithm >= 3)
        code = omen_regions_update(&c->regions, &c->cells, &c->graph, &c->kernels, s->phi_squared,
                                   err);
    if (code != OMEN_OK) return code;
    if (r->tuning.target != 0) omen_collection_tune(c, &r->tuning);
    atomic_store_explicit(&c->cells.published, c->cells.count, memory_order_release);
    fill_published(&c->published, s);
    atomic_store_explicit(&c->table_bytes,
                          omen_cells_bytes(&c->cells, c->graph.stride) +
                              omen_regions_bytes(&c->regions, c->graph.stride) +
                              omen_graph_bytes(&c->graph, s->slots),
                          memory_order_relaxed);
    atomic_store_explicit(&c->hash_bytes,
                          omen_slot_table_bytes(&admit->ids) + omen_slot_table_bytes(&admit->codes),
                          memory_order_relaxed);
    return OMEN_OK;
}
