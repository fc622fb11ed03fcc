/* admit.c - see admit.h: records, sessions, and where epochs end. What a chunk's points do is in
 * admit_write.c, what happens to slots that are not needed any more in recycle.c. */
#include "engine/admit.h"

#include <string.h>

#include "engine/capture.h"
#include "engine/collection.h"
#include "engine/memory.h"
#include "engine/settings.h"
#include "engine/stream.h"

static void epoch_begin(const struct omen_admit *admit, struct omen_epoch *epoch);
static omen_code epoch_new(struct omen_admit *admit, struct omen_epoch **out, omen_error *err);
static omen_code epoch_receipt(struct omen_epoch *epoch, omen_stream *stream, uint64_t seq,
                               uint64_t bytes, omen_error *err);
static omen_code end_epoch(omen_collection *c, struct omen_epoch_list *complete, omen_error *err);
static omen_code end_unless_empty(omen_collection *c, struct omen_epoch_list *complete,
                                  omen_error *err);
static omen_code apply_chunk(omen_collection *c, uint64_t position, omen_chunk *chunk,
                             omen_stream *stream, uint64_t *admitted_seq, omen_error *err);
static void settle_slots(omen_collection *c, struct omen_epoch *epoch);

static void stand_at(struct omen_admit *admit, uint64_t position)
{
    admit->position = position;
    admit->open->position = position;
}

omen_code omen_admit_init(struct omen_admit *admit, uint32_t algorithm,
                          const struct omen_collection_settings *settings, omen_error *err)
{
    memset(admit, 0, sizeof *admit);
    admit->epoch_number = 1;
    admit->algorithm = algorithm;
    admit->checkpoint_bytes = settings->checkpoint_bytes;
    return epoch_new(admit, &admit->open, err);
}

void omen_admit_deinit(omen_collection *collection)
{
    struct omen_admit *admit = &collection->admit;

    for (uint32_t slot = 0; slot < admit->slot_count; slot++) {
        if ((*omen_graph_flags(&collection->graph, slot) & OMEN_SLOT_KEYED) != 0)
            omen_free((void *)(uintptr_t)*omen_graph_id(&collection->graph, slot));
    }
    omen_sessions_deinit(&admit->sessions);
    omen_slot_table_deinit(&admit->ids);
    omen_slot_table_deinit(&admit->codes);
    omen_expiry_deinit(&admit->expiry);
    omen_slots_deinit(&admit->dead);
    omen_slots_deinit(&admit->swept);
    omen_slots_deinit(&admit->free);
    omen_slots_deinit(&admit->unerased);
    omen_slots_deinit(&admit->erasable);
    omen_epoch_destroy(admit->open);
    admit->open = NULL;
}

/* ---- the records --------------------------------------------------------------------------- */

omen_code omen_admit_open(omen_collection *collection, uint64_t position, const uint8_t *session_id,
                          uint64_t errors_seen_seq, omen_stream *stream, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    struct omen_session *session = NULL;
    omen_code code =
        omen_session_touch(&admit->sessions, session_id, admit->clock_s, &session, err);
    struct omen_stream_opening opening = {.generation = position};

    if (code != OMEN_OK) return code;
    if (session->stream != NULL) {
        omen_error taken;

        omen_stream_kill(session->stream,
                         omen_fail_because(&taken, OMEN_ABORTED, "SESSION_TAKEN",
                                           "a newer stream opened this session"),
                         &taken);
        omen_session_forget_stream(session, session->stream);
    }
    if (errors_seen_seq > session->last_seq) errors_seen_seq = session->last_seq;
    omen_session_forget_errors(&admit->sessions, session, errors_seen_seq);
    session->generation = position;
    stand_at(admit, position);
    if (stream == NULL) return OMEN_OK;

    session->stream = stream;
    omen_stream_retain(stream);
    opening.last_seq = session->last_seq;
    opening.searchable = session->last_epoch <=
                         atomic_load_explicit(&collection->published.epoch, memory_order_acquire);
    opening.errors_from_seq = session->errors_from_seq;
    opening.errors = session->errors;
    opening.error_count = session->error_count;
    if (!omen_stream_opened(stream, &opening))
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the item errors of a session");
    if (!opening.searchable) code = epoch_receipt(admit->open, stream, session->last_seq, 0, err);
    return code;
}

omen_code omen_admit_chunk(omen_collection *collection, uint64_t position, omen_chunk *chunk,
                           omen_stream *stream, struct omen_epoch_list *complete, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    uint64_t bytes = omen_chunk_bytes(chunk);
    uint64_t admitted_seq = 0; /* 0: the chunk's bytes come back, but nothing gets searchable */
    omen_code code = OMEN_OK;

    admit->open->record_points += chunk->count + chunk->delete_count;
    admit->open->record_bytes += bytes;
    code = apply_chunk(collection, position, chunk, stream, &admitted_seq, err);
    if (code != OMEN_OK) return code;
    stand_at(admit, position);
    code = epoch_receipt(admit->open, stream, admitted_seq, bytes, err);
    const struct omen_epoch_limit limit = omen_epoch_limit(&collection->settings, admit->open);
    if (code != OMEN_OK ||
        (admit->open->record_points < limit.points && admit->open->record_bytes < limit.bytes))
        return code;
    code = end_epoch(collection, complete, err);
    if (code != OMEN_OK) { /* the chunk's bytes go back by way of the caller, not of a receipt */
        admit->open->receipt_count--;
        omen_stream_release(stream);
    }
    return code;
}

/* If it is its turn. */
static omen_code apply_chunk(omen_collection *c, uint64_t position, omen_chunk *chunk,
                             omen_stream *stream, uint64_t *admitted_seq, omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    struct omen_session *session = NULL;
    omen_code code = OMEN_OK;

    if (chunk->generation != 0) {
        session = omen_session_find(&admit->sessions, chunk->session_id);
        if (session == NULL || session->generation != chunk->generation ||
            session->last_seq + 1 != chunk->seq)
            return OMEN_OK;
        code =
            omen_session_touch(&admit->sessions, chunk->session_id, admit->clock_s, &session, err);
    }
    if (code == OMEN_OK) code = omen_admit_write(c, chunk, err);
    if (code == OMEN_OK && session != NULL) {
        session->last_seq = chunk->seq;
        session->last_epoch = admit->epoch_number;
        code = omen_session_keep_errors(&admit->sessions, session, chunk->errors,
                                        chunk->error_count, err);
    }
    if (code != OMEN_OK) return code;
    *admitted_seq = chunk->seq;
    if (stream == NULL) return OMEN_OK;
    if (!omen_stream_durable(stream, chunk->seq, position, chunk->errors, chunk->error_count))
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the item errors of a chunk");
    if (chunk->error_count > 0) { /* the stream has them now */
        chunk->errors = NULL;
        chunk->error_count = 0;
    }
    return OMEN_OK;
}

omen_code omen_admit_close(omen_collection *collection, uint64_t position,
                           struct omen_epoch_list *complete, omen_error *err)
{
    stand_at(&collection->admit, position);
    return end_epoch(collection, complete, err);
}

omen_code omen_admit_settings(omen_collection *collection, const struct omen_record *record,
                              struct omen_epoch_list *complete, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    struct omen_settings_state state = {.algorithm = admit->algorithm,
                                        .checkpoint_bytes = admit->checkpoint_bytes,
                                        .tuning = collection->tuning};
    bool tuned = false;
    omen_code code = end_unless_empty(collection, complete, err);

    if (code == OMEN_OK)
        code = omen_settings_change(record->payload, record->length, &state, &tuned, err);
    if (code != OMEN_OK) return code;
    admit->checkpoint_bytes = state.checkpoint_bytes;
    admit->algorithm = state.algorithm;
    admit->sweep_asked |= state.sweep;
    if (tuned) {
        omen_collection_tune(collection, &state.tuning);
        /* Else nothing would close the epoch, and who waits to see the record would wait for the
         * next write. Not for the other settings: records after those were written without it. */
        admit->open->dirty = true;
    }
    admit->open->algorithm = admit->algorithm;
    atomic_store_explicit(&collection->algorithm, admit->algorithm, memory_order_relaxed);
    stand_at(admit, record->position);
    return OMEN_OK;
}

omen_code omen_admit_expire(omen_collection *collection, uint64_t position, uint32_t now_s,
                            struct omen_epoch_list *complete, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    omen_code code = end_unless_empty(collection, complete, err);

    if (code != OMEN_OK) return code;
    if (now_s > admit->clock_s) admit->clock_s = now_s;
    stand_at(admit, position);
    while (omen_expiry_next(&admit->expiry) <= admit->clock_s && admit->expiry.count > 0) {
        struct omen_expiry_entry entry;

        code = omen_admit_reserve_deaths(admit, 1, err);
        if (code != OMEN_OK) return code;
        entry = omen_expiry_take(&admit->expiry);
        if (!omen_admit_expires(collection, &entry)) continue;
        omen_admit_kill(collection, entry.slot);
        admit->open->dirty = true;
    }
    omen_sessions_expire(&admit->sessions, admit->clock_s);
    return OMEN_OK;
}

omen_code omen_admit_checkpoint(omen_collection *collection, uint64_t position,
                                struct omen_epoch_list *complete, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    omen_code code = end_unless_empty(collection, complete, err);

    if (code == OMEN_OK) code = omen_admit_recycle(collection, err);
    if (code != OMEN_OK) return code;
    admit->open->boundary = true;
    admit->checkpoint_epoch = admit->epoch_number;
    admit->checkpoint_log_bytes = omen_log_bytes(collection->log);
    stand_at(admit, position);
    return end_epoch(collection, complete, err);
}

/* ---- epochs -------------------------------------------------------------------------------- */

struct omen_epoch_limit omen_epoch_limit(const struct omen_collection_settings *settings,
                                         const struct omen_epoch *epoch)
{
    const uint64_t points = epoch->algorithm < 4 ? 0 : epoch->points_before;

    return (struct omen_epoch_limit){.points = omen_epoch_grown(settings->epoch_points, points),
                                     .bytes = omen_epoch_grown(settings->epoch_bytes, points)};
}

void omen_epoch_destroy(struct omen_epoch *epoch)
{
    if (epoch == NULL) return;
    omen_epoch_forget_receipts(epoch);
    omen_slots_deinit(&epoch->placed);
    omen_slots_deinit(&epoch->retired);
    omen_slots_deinit(&epoch->leavers);
    omen_slots_deinit(&epoch->swept);
    omen_capture_destroy(epoch->capture);
    omen_free(epoch->receipts);
    omen_free(epoch);
}

void omen_epoch_forget_receipts(struct omen_epoch *epoch)
{
    for (uint32_t i = 0; i < epoch->receipt_count; i++)
        omen_stream_release(epoch->receipts[i].stream);
    epoch->receipt_count = 0;
}

bool omen_admit_open_dirty(const struct omen_admit *admit)
{
    return admit->open->receipt_count > 0 || admit->open->dirty;
}

bool omen_admit_open_empty(const struct omen_admit *admit)
{
    return admit->open->record_points == 0 && admit->open->record_bytes == 0 &&
           !omen_admit_open_dirty(admit);
}

static omen_code epoch_new(struct omen_admit *admit, struct omen_epoch **out, omen_error *err)
{
    struct omen_epoch *epoch = omen_alloc_zeroed(sizeof *epoch);

    if (epoch == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "an epoch");
    epoch_begin(admit, epoch);
    *out = epoch;
    return OMEN_OK;
}

static void epoch_begin(const struct omen_admit *admit, struct omen_epoch *epoch)
{
    epoch->number = admit->epoch_number;
    epoch->algorithm = admit->algorithm;
    epoch->points_before = admit->point_count;
    epoch->position = admit->position;
}

void omen_admit_begin_again(struct omen_admit *admit)
{
    epoch_begin(admit, admit->open);
}

/* At start-up there is no stream, but the receipt still says that the epoch is not empty. */
static omen_code epoch_receipt(struct omen_epoch *epoch, omen_stream *stream, uint64_t seq,
                               uint64_t bytes, omen_error *err)
{
    if (epoch->receipt_count == epoch->receipt_capacity) {
        uint32_t capacity = epoch->receipt_capacity == 0 ? 16 : epoch->receipt_capacity * 2;
        struct omen_receipt *receipts = omen_realloc(epoch->receipts, capacity * sizeof *receipts);

        if (receipts == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u receipts", capacity);
        epoch->receipts = receipts;
        epoch->receipt_capacity = capacity;
    }
    if (stream != NULL) omen_stream_retain(stream);
    epoch->receipts[epoch->receipt_count++] = (struct omen_receipt){stream, seq, bytes};
    return OMEN_OK;
}

static omen_code end_unless_empty(omen_collection *c, struct omen_epoch_list *complete,
                                  omen_error *err)
{
    return omen_admit_open_empty(&c->admit) ? OMEN_OK : end_epoch(c, complete, err);
}

static omen_code end_epoch(omen_collection *c, struct omen_epoch_list *complete, omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    struct omen_epoch *ended = admit->open;
    struct omen_epoch *open = NULL;
    omen_code code = OMEN_OK;

    admit->epoch_number++;
    code = epoch_new(admit, &open, err);
    if (code != OMEN_OK) { /* `open` is still the ended one, and still ours */
        admit->epoch_number--;
        return code;
    }
    settle_slots(c, ended);
    ended->slots_end = admit->slot_count;
    ended->slots_used = admit->slot_count - admit->free.count;
    ended->points_total = admit->point_count;
    ended->phi_squared = admit->phi_squared;
    admit->open = open;
    if (complete->last != NULL)
        complete->last->next = ended;
    else
        complete->first = ended;
    complete->last = ended;
    return OMEN_OK;
}

/* What was placed and died within the epoch is never linked; a head is kept if any point of its
 * node lives. A graph without a pivot gets its first new node as one, whatever its number: every
 * node needs a cell. */
static void settle_slots(omen_collection *c, struct omen_epoch *epoch)
{
    uint32_t share = epoch->algorithm < 3 ? OMEN_CELL_SLOTS_2 : OMEN_CELL_SLOTS;
    struct omen_admit *admit = &c->admit;
    const struct omen_graph *graph = &c->graph;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < epoch->placed.count; i++) {
        uint32_t slot = epoch->placed.slots[i];
        bool linked = (*omen_graph_flags(graph, slot) & OMEN_SLOT_LINKED) != 0;

        if (linked ? *omen_graph_copies(graph, slot) > 0
                   : omen_graph_died(graph, slot) == OMEN_EPOCH_NEVER)
            epoch->placed.slots[kept++] = slot;
    }
    epoch->placed.count = kept;
    omen_slots_sort(&epoch->placed);
    for (uint32_t i = 0; i < epoch->placed.count; i++) {
        uint32_t slot = epoch->placed.slots[i];
        uint8_t *flags = omen_graph_flags(graph, slot);

        if ((*flags & OMEN_SLOT_LINKED) == 0) continue;
        *flags |= OMEN_SLOT_IN_GRAPH;
        if (admit->pivots > 0 && !omen_slot_hashes_to_pivot(slot, share)) continue;
        *flags |= OMEN_SLOT_PIVOT;
        admit->pivots++;
        admit->living_pivots++;
    }
    kept = 0;
    for (uint32_t i = 0; i < epoch->leavers.count; i++) {
        uint32_t slot = epoch->leavers.slots[i];

        if (*omen_graph_copies(graph, *omen_graph_home(graph, slot)) > 0)
            epoch->leavers.slots[kept++] = slot;
    }
    epoch->leavers.count = kept;
}
