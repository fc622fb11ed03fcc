/* capture.c - see capture.h. */
#include "engine/capture.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "engine/clock.h"
#include "engine/epoch.h"
#include "engine/memory.h"

_Static_assert(sizeof(struct omen_checkpoint_state) == 112, "as on disk");
_Static_assert(sizeof(struct omen_stored_session) == 56, "as on disk");
_Static_assert(sizeof(struct omen_stored_error) == 32, "as on disk");

static omen_code copy_lists(struct omen_capture *capture, const struct omen_admit *admit,
                            omen_error *err);
static omen_code copy_arrays(struct omen_capture *capture, const struct omen_graph *graph,
                             struct omen_capture_room *room, omen_error *err);
static void leave_names_out(struct omen_capture *capture, uint32_t segment);
static void copy_segments(void *context, uint32_t worker);
static omen_code copy_cells(struct omen_capture *capture, const struct omen_cells *cells,
                            omen_error *err);

static void fill_state(struct omen_checkpoint_state *state, const omen_collection *c)
{
    const struct omen_admit *admit = &c->admit;
    struct omen_array arrays[OMEN_ARRAYS_MAX];

    /* The boundary of a file sweeps all dead; and where nothing has died, none was quiet. So the
     * field says 0 in every file, and no restart can forget what it counted. */
    assert(admit->quiet_boundaries == 0);
    *state = (struct omen_checkpoint_state){
        .position = admit->position,
        .points = admit->point_count,
        .created_s = (uint64_t)time(NULL),
        .algorithm = admit->algorithm,
        .checkpoint_bytes = admit->checkpoint_bytes,
        .slots = admit->slot_count,
        .epoch = admit->checkpoint_epoch,
        .pivots = admit->pivots,
        .living_pivots = admit->living_pivots,
        .quiet_boundaries = admit->quiet_boundaries,
        .clock_s = admit->clock_s,
        .phi_squared = admit->phi_squared,
        .death_s = admit->death_s,
        .stride = (uint32_t)c->graph.stride,
        .arrays = omen_graph_arrays(&c->graph, arrays),
        .lists = {admit->dead.count, admit->swept.count, admit->free.count, admit->erasable.count},
        .expiry = admit->expiry.count,
        .sessions = admit->sessions.count,
        .cells = admit->pivots,
    };
}

omen_code omen_capture_create(omen_collection *collection, struct omen_capture_room *room,
                              struct omen_capture **out, omen_error *err)
{
    const struct omen_admit *admit = &collection->admit;
    struct omen_capture *capture = omen_alloc_zeroed(sizeof *capture);
    const uint64_t begin = omen_now_ns();
    omen_code code = OMEN_OK;

    *out = NULL;
    if (capture == NULL) {
        omen_capture_room_deinit(room);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a checkpoint");
    }
    fill_state(&capture->state, collection);
    capture->tuning = collection->tuning; /* ADMIT's, and we are its thread */
    code = copy_lists(capture, admit, err);
    if (code == OMEN_OK) code = copy_arrays(capture, &collection->graph, room, err);
    omen_capture_room_deinit(room);
    if (code != OMEN_OK) {
        omen_capture_destroy(capture);
        return code;
    }
    capture->admit_ns = omen_now_ns() - begin;
    *out = capture;
    return OMEN_OK;
}

void omen_capture_destroy(struct omen_capture *capture)
{
    if (capture == NULL) return;
    for (uint32_t i = 0; i < OMEN_LISTS; i++)
        omen_slots_deinit(&capture->lists[i]);
    omen_free(capture->expiry.bytes);
    omen_free(capture->sessions.bytes);
    omen_free(capture->cells.bytes);
    for (uint32_t i = 0; capture->segments != NULL && i < capture->segment_count; i++)
        omen_capture_drop_segment(capture, i);
    omen_free(capture->segments);
    omen_free(capture);
}

void omen_capture_drop_segment(struct omen_capture *capture, uint32_t segment)
{
    omen_pages_unmap(capture->segments[segment].pages, capture->segment_bytes);
    capture->segments[segment] = (struct omen_segment){.pages = NULL};
}

uint32_t omen_capture_slots(const struct omen_capture *capture, uint32_t segment)
{
    uint32_t left = capture->state.slots - segment * OMEN_SEGMENT_SLOTS;

    return left < OMEN_SEGMENT_SLOTS ? left : OMEN_SEGMENT_SLOTS;
}

/* ---- room ---------------------------------------------------------------------------------- */

/* Beyond what there is now: a collection may grow until the record is written. */
#define SPARE_SEGMENTS 2u
#define PAGE           4096u

/* Of a segment, of all arrays that are copied. */
static size_t copied_bytes(const struct omen_array *arrays, uint32_t count)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        if (arrays[i].writer != OMEN_ARRAY_FIXED) bytes += arrays[i].slot_bytes;
    return bytes * OMEN_SEGMENT_SLOTS;
}

/* Only collections of some size are worth it. */
void omen_capture_room_init(struct omen_capture_room *room, const omen_collection *collection)
{
    struct omen_array arrays[OMEN_ARRAYS_MAX];
    const uint32_t count = omen_graph_arrays(&collection->graph, arrays);
    const uint32_t slots = atomic_load_explicit(&collection->published.slots, memory_order_acquire);
    const uint32_t wanted = slots / OMEN_SEGMENT_SLOTS + SPARE_SEGMENTS;

    *room = (struct omen_capture_room){.segment_bytes = copied_bytes(arrays, count)};
    if (slots < OMEN_SEGMENT_SLOTS) return;
    room->pages = omen_alloc(wanted * sizeof *room->pages);
    while (room->pages != NULL && room->count < wanted) {
        volatile char *pages = omen_pages_map(room->segment_bytes);

        if (pages == NULL) return;
        room->pages[room->count++] = (void *)(uintptr_t)pages;
        omen_pages_huge((void *)(uintptr_t)pages, room->segment_bytes);
        for (size_t at = 0; at < room->segment_bytes; at += PAGE)
            pages[at] = 0;
    }
}

void omen_capture_room_deinit(struct omen_capture_room *room)
{
    while (room->count > 0)
        omen_pages_unmap(room->pages[--room->count], room->segment_bytes);
    omen_free(room->pages);
    *room = (struct omen_capture_room){.count = 0};
}

/* ---- ADMIT's part -------------------------------------------------------------------------- */

static omen_code copy_expiry(struct omen_capture *capture, const struct omen_expiry *expiry,
                             omen_error *err)
{
    const uint64_t bytes = (uint64_t)expiry->count * sizeof *expiry->heap;

    capture->expiry = (struct omen_captured_bytes){omen_alloc(bytes), bytes};
    if (capture->expiry.bytes == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a copy of %u clocks", expiry->count);
    if (bytes > 0) memcpy(capture->expiry.bytes, expiry->heap, bytes);
    return OMEN_OK;
}

static uint64_t session_bytes(const struct omen_session *session)
{
    uint64_t bytes = sizeof(struct omen_stored_session);

    for (uint32_t i = 0; i < session->error_count; i++)
        bytes += sizeof(struct omen_stored_error) + session->errors[i].key_bytes;
    return bytes;
}

static char *store_session(char *at, const struct omen_session *session)
{
    struct omen_stored_session stored = {.generation = session->generation,
                                         .last_seq = session->last_seq,
                                         .errors_from_seq = session->errors_from_seq,
                                         .last_epoch = session->last_epoch,
                                         .touched_s = session->touched_s,
                                         .error_count = session->error_count};

    memcpy(stored.id, session->id, sizeof stored.id);
    memcpy(at, &stored, sizeof stored);
    at += sizeof stored;
    for (uint32_t i = 0; i < session->error_count; i++) {
        const struct omen_item_error *e = &session->errors[i];
        const struct omen_stored_error error = {.seq = e->seq,
                                                .num = e->num,
                                                .detail = e->detail,
                                                .refusal = (uint16_t)e->refusal,
                                                .index = e->index,
                                                .has_id = e->has_id,
                                                .key_bytes = e->key_bytes};

        memcpy(at, &error, sizeof error);
        memcpy(at + sizeof error, e->key, e->key_bytes);
        at += sizeof error + e->key_bytes;
    }
    return at;
}

static omen_code copy_sessions(struct omen_capture *capture, const struct omen_sessions *sessions,
                               omen_error *err)
{
    uint64_t bytes = 0;
    char *at;

    for (const struct omen_session *s = sessions->oldest; s != NULL; s = s->newer)
        bytes += session_bytes(s);
    at = omen_alloc(bytes);
    if (at == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a copy of %u sessions", sessions->count);
    capture->sessions = (struct omen_captured_bytes){at, bytes};
    for (const struct omen_session *s = sessions->oldest; s != NULL; s = s->newer)
        at = store_session(at, s);
    return OMEN_OK;
}

static omen_code copy_lists(struct omen_capture *capture, const struct omen_admit *admit,
                            omen_error *err)
{
    const struct omen_slots *lists[OMEN_LISTS] = {&admit->dead, &admit->swept, &admit->free,
                                                  &admit->erasable};
    omen_code code = copy_expiry(capture, &admit->expiry, err);

    if (code == OMEN_OK) code = copy_sessions(capture, &admit->sessions, err);
    for (uint32_t i = 0; i < OMEN_LISTS && code == OMEN_OK; i++) {
        code = omen_slots_reserve(&capture->lists[i], lists[i]->count, err);
        if (code != OMEN_OK || lists[i]->count == 0) continue;
        memcpy(capture->lists[i].slots, lists[i]->slots, lists[i]->count * sizeof *lists[i]->slots);
        capture->lists[i].count = lists[i]->count;
    }
    return code;
}

/* A segment's copy, for both parts. */
static omen_code map_segment(struct omen_capture *capture, const struct omen_array *arrays,
                             struct omen_capture_room *room, uint32_t segment, omen_error *err)
{
    struct omen_segment *copy = &capture->segments[segment];
    char *at;

    if (room->count > 0)
        at = room->pages[--room->count];
    else
        at = omen_pages_map(capture->segment_bytes);
    if (at == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a copy of a segment, %zu bytes",
                         capture->segment_bytes);
    copy->pages = at;
    for (uint32_t i = 0; i < capture->state.arrays; i++) {
        if (arrays[i].writer == OMEN_ARRAY_FIXED) continue;
        memcpy((char *)copy + arrays[i].pointer_at, &at, sizeof at);
        at += arrays[i].slot_bytes * OMEN_SEGMENT_SLOTS;
    }
    return OMEN_OK;
}

static omen_code copy_arrays(struct omen_capture *capture, const struct omen_graph *graph,
                             struct omen_capture_room *room, omen_error *err)
{
    const uint32_t segments = (capture->state.slots + OMEN_SEGMENT_SLOTS - 1) / OMEN_SEGMENT_SLOTS;
    struct omen_array arrays[OMEN_ARRAYS_MAX];
    const uint32_t count = omen_graph_arrays(graph, arrays);
    omen_code code = OMEN_OK;

    capture->segment_bytes = copied_bytes(arrays, count);
    capture->segments = omen_alloc_zeroed(segments * sizeof *capture->segments);
    if (capture->segments == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a copy of %u segments", segments);
    capture->segment_count = segments;
    for (uint32_t s = 0; s < segments && code == OMEN_OK; s++) {
        code = map_segment(capture, arrays, room, s, err);
        for (uint32_t i = 0; i < count && code == OMEN_OK; i++)
            if (arrays[i].writer == OMEN_ARRAY_ADMIT)
                memcpy(omen_segment_array(&capture->segments[s], &arrays[i]),
                       omen_segment_array(&graph->directory[s], &arrays[i]),
                       arrays[i].slot_bytes * omen_capture_slots(capture, s));
        if (code == OMEN_OK) leave_names_out(capture, s);
    }
    return code;
}

/* A dead point's id is of no use to anybody but to readers from before. */
static void leave_names_out(struct omen_capture *capture, uint32_t segment)
{
    const uint32_t slots = omen_capture_slots(capture, segment);
    struct omen_segment *copy = &capture->segments[segment];

    for (uint32_t i = 0; i < slots; i++) {
        uint32_t died = (uint32_t)atomic_load_explicit(&copy->visibility[i], memory_order_relaxed);

        if (copy->flags[i] != 0 && died != OMEN_EPOCH_NEVER)
            copy->flags[i] =
                (uint8_t)((copy->flags[i] & ~(unsigned)OMEN_SLOT_KEYED) | OMEN_SLOT_NAMELESS);
        capture->state.keys += (copy->flags[i] & OMEN_SLOT_KEYED) != 0;
    }
}

/* ---- the graph's part ---------------------------------------------------------------------- */

void omen_capture_graph(struct omen_step *step, struct omen_capture *capture)
{
    const uint64_t begin = omen_now_ns();

    step->point_count = capture->state.slots; /* how much work there is */
    step->capture = capture;
    capture->code = omen_step_run(step, copy_segments, &capture->error);
    step->capture = NULL;
    if (capture->code == OMEN_OK)
        capture->code = copy_cells(capture, &step->collection->cells, &capture->error);
    capture->graph_ns = omen_now_ns() - begin;
}

/* Work number i is segment i. */
static void copy_segments(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    struct omen_capture *capture = step->capture;
    const struct omen_graph *graph = &step->collection->graph;
    struct omen_array arrays[OMEN_ARRAYS_MAX];
    const uint32_t count = omen_graph_arrays(graph, arrays);

    (void)worker;
    for (uint32_t s = omen_step_next(step); s < capture->segment_count; s = omen_step_next(step)) {
        struct omen_capture_runs runs;
        uint32_t first = 0;
        uint32_t n;

        omen_capture_runs_init(&runs, capture, s);
        while ((n = omen_capture_runs_next(&runs, &first)) > 0) {
            for (uint32_t i = 0; i < count; i++) {
                const size_t at = omen_graph_offset(first) * arrays[i].slot_bytes;

                if (arrays[i].writer != OMEN_ARRAY_GRAPH) continue;
                memcpy((char *)omen_segment_array(&capture->segments[s], &arrays[i]) + at,
                       (const char *)omen_segment_array(&graph->directory[s], &arrays[i]) + at,
                       n * arrays[i].slot_bytes);
            }
        }
    }
}

static omen_code copy_cells(struct omen_capture *capture, const struct omen_cells *cells,
                            omen_error *err)
{
    uint64_t words = 2 * (uint64_t)cells->count;
    uint32_t *at;

    for (uint32_t i = 0; i < cells->count; i++)
        words += omen_cell_count(omen_cells_cell(cells, i));
    at = omen_alloc(words * sizeof *at);
    if (at == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a copy of %u cells", cells->count);
    capture->cells = (struct omen_captured_bytes){at, words * sizeof *at};
    for (uint32_t i = 0; i < cells->count; i++) {
        const struct omen_cell *cell = omen_cells_cell(cells, i);

        *at++ = omen_cells_pivot(cells, i);
        *at = omen_cell_count(cell);
        at += 1 + omen_cell_read(cell, at + 1, *at);
    }
    return OMEN_OK;
}

/* ---- runs of slots in use ------------------------------------------------------------------ */

void omen_capture_runs_init(struct omen_capture_runs *runs, const struct omen_capture *capture,
                            uint32_t segment)
{
    const struct omen_slots *list = &capture->lists[OMEN_LIST_FREE];
    const uint32_t begin = segment * OMEN_SEGMENT_SLOTS;
    uint32_t low = 0;
    uint32_t high = list->count;

    /* The list descends: its first `low` slots are at or behind the segment's beginning. */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (list->slots[middle] >= begin)
            low = middle + 1;
        else
            high = middle;
    }
    *runs = (struct omen_capture_runs){.capture = capture,
                                       .next = begin,
                                       .end = begin + omen_capture_slots(capture, segment),
                                       .free_left = low};
}

uint32_t omen_capture_runs_next(struct omen_capture_runs *runs, uint32_t *first)
{
    const struct omen_slots *list = &runs->capture->lists[OMEN_LIST_FREE];
    uint32_t end = runs->end;

    while (runs->free_left > 0 && list->slots[runs->free_left - 1] == runs->next) {
        runs->free_left--;
        runs->next++;
    }
    *first = runs->next;
    if (runs->next >= end) return 0;
    if (runs->free_left > 0 && list->slots[runs->free_left - 1] < end)
        end = list->slots[runs->free_left - 1];
    runs->next = end;
    return end - *first;
}
