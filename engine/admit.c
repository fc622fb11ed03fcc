/* admit.c - see admit.h.
 *
 * A chunk, step by step: is it its session's next? -> room for all of it (memory first, so that
 * nothing is half done) -> for each point: does the id exist (an item error), does a live slot have
 * the same code and scale (it joins that slot's duplicate chain and gets no links), else a slot of
 * its own -> originals -> the stream hears "durable".
 *
 * Why duplicates are kept out of the graph: 40,000 copies among 60,000 points left 38,000 nodes
 * unreachable, all links staying inside the group. Re-ranking scans the chain instead.
 */
#include "engine/admit.h"

#include <string.h>

#include "engine/collection.h"
#include "engine/memory.h"
#include "engine/stream.h"
#include <xxhash.h>

static omen_code epoch_new(struct omen_admit *admit, omen_error *err);
static omen_code epoch_receipt(struct omen_epoch *epoch, omen_stream *stream, uint64_t seq,
                               uint64_t bytes, omen_error *err);
static omen_code complete_epoch(omen_collection *c, struct omen_epoch **complete, omen_error *err);
static omen_code admit_points(omen_collection *c, omen_chunk *chunk, omen_error *err);
static uint32_t find_id(const omen_collection *c, uint64_t id, uint32_t hash);
static uint32_t find_code(const omen_collection *c, const uint8_t *code, float scale,
                          uint32_t hash);
static void place_point(omen_collection *c, const omen_chunk *chunk, uint32_t row, uint32_t slot);

static uint32_t id_hash(uint64_t id)
{
    return (uint32_t)XXH3_64bits(&id, sizeof id);
}

static uint32_t code_hash(const uint8_t *code, size_t stride)
{
    return (uint32_t)XXH3_64bits(code, stride);
}

omen_code omen_admit_init(struct omen_admit *admit, omen_error *err)
{
    memset(admit, 0, sizeof *admit);
    admit->epoch_number = 1;
    return epoch_new(admit, err);
}

void omen_admit_deinit(struct omen_admit *admit)
{
    omen_sessions_deinit(&admit->sessions);
    omen_slot_table_deinit(&admit->ids);
    omen_slot_table_deinit(&admit->codes);
    omen_epoch_destroy(admit->open);
    admit->open = NULL;
}

omen_code omen_admit_open(omen_collection *collection, uint64_t position, const uint8_t *session_id,
                          omen_stream *stream, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    struct omen_session *session = NULL;
    omen_code code = omen_session_touch(&admit->sessions, session_id, &session, err);
    bool searchable = true;

    if (code != OMEN_OK) return code;
    if (session->stream != NULL) {
        omen_error taken;

        omen_stream_kill(session->stream,
                         omen_fail_because(&taken, OMEN_ABORTED, "SESSION_TAKEN",
                                           "a newer stream opened this session"),
                         &taken);
        omen_session_forget_stream(session, session->stream);
    }
    session->generation = position;
    admit->position = position;
    admit->open->position = position;
    if (stream == NULL) return OMEN_OK;

    session->stream = stream;
    omen_stream_retain(stream);
    searchable = session->last_epoch <=
                 atomic_load_explicit(&collection->published.epoch, memory_order_acquire);
    omen_stream_opened(stream, position, session->last_seq, searchable);
    if (!searchable) code = epoch_receipt(admit->open, stream, session->last_seq, 0, err);
    return code;
}

omen_code omen_admit_chunk(omen_collection *collection, uint64_t position, omen_chunk *chunk,
                           omen_stream *stream, struct omen_epoch **complete, omen_error *err)
{
    struct omen_admit *admit = &collection->admit;
    struct omen_session *session = omen_session_find(&admit->sessions, chunk->session_id);
    uint64_t bytes = omen_chunk_record_bytes(chunk->count, chunk->dim);
    uint64_t admitted_seq = 0; /* 0: the chunk's bytes come back, but nothing gets searchable */
    omen_code code = OMEN_OK;

    *complete = NULL;
    admit->open->record_points += chunk->count;
    admit->open->record_bytes += bytes;
    if (session != NULL && session->generation == chunk->generation &&
        session->last_seq + 1 == chunk->seq) {
        code = omen_session_touch(&admit->sessions, chunk->session_id, &session, err);
        if (code == OMEN_OK) code = admit_points(collection, chunk, err);
        if (code != OMEN_OK) return code;
        session->last_seq = admitted_seq = chunk->seq;
        session->last_epoch = admit->epoch_number;
        if (stream != NULL) {
            if (!omen_stream_durable(stream, chunk->seq, position, chunk->errors,
                                     chunk->error_count))
                return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the item errors of a chunk");
            if (chunk->error_count > 0) chunk->errors = NULL; /* the stream has them now */
        }
    }
    admit->position = position;
    admit->open->position = position;
    code = epoch_receipt(admit->open, stream, admitted_seq, bytes, err);
    if (code != OMEN_OK || (admit->open->record_points < collection->settings.epoch_points &&
                            admit->open->record_bytes < collection->settings.epoch_bytes))
        return code;
    code = complete_epoch(collection, complete, err);
    if (code != OMEN_OK) { /* the chunk's bytes go back by way of the caller, not of a receipt */
        admit->open->receipt_count--;
        omen_stream_release(stream);
    }
    return code;
}

omen_code omen_admit_close(omen_collection *collection, uint64_t position,
                           struct omen_epoch **complete, omen_error *err)
{
    collection->admit.position = position;
    collection->admit.open->position = position;
    return complete_epoch(collection, complete, err);
}

uint32_t omen_admit_find_id(const omen_collection *collection, uint64_t id)
{
    return find_id(collection, id, id_hash(id));
}

uint32_t omen_admit_find_code(const omen_collection *collection, const uint8_t *code, float scale)
{
    return find_code(collection, code, scale, code_hash(code, collection->graph.stride));
}

void omen_epoch_destroy(struct omen_epoch *epoch)
{
    if (epoch == NULL) return;
    omen_epoch_forget_receipts(epoch);
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
    return admit->open->receipt_count > 0;
}

static omen_code epoch_new(struct omen_admit *admit, omen_error *err)
{
    struct omen_epoch *epoch = omen_alloc_zeroed(sizeof *epoch);

    if (epoch == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "an epoch");
    epoch->number = admit->epoch_number;
    epoch->first_slot = epoch->end_slot = admit->slot_count;
    admit->open = epoch;
    return OMEN_OK;
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

static omen_code complete_epoch(omen_collection *c, struct omen_epoch **complete, omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    struct omen_epoch *ended = admit->open;
    omen_code code;

    ended->end_slot = admit->slot_count;
    ended->points_total = admit->point_count;
    ended->phi_squared = admit->phi_squared;
    admit->epoch_number++;
    code = epoch_new(admit, err);
    if (code != OMEN_OK) return code; /* `open` is still the ended one, and still ours */
    *complete = ended;
    return OMEN_OK;
}

static omen_code admit_points(omen_collection *c, omen_chunk *chunk, omen_error *err)
{
    struct omen_admit *admit = &c->admit;
    uint32_t first = admit->slot_count;
    uint32_t run = 0; /* first row that is not yet among the originals */
    omen_code code = omen_slot_table_reserve(&admit->ids, chunk->count, err);

    if (code == OMEN_OK) code = omen_slot_table_reserve(&admit->codes, chunk->count, err);
    atomic_store_explicit(
        &c->hash_bytes, (admit->ids.capacity + admit->codes.capacity) * sizeof *admit->ids.entries,
        memory_order_relaxed);
    if (code == OMEN_OK && chunk->count <= OMEN_SLOTS_MAX - first)
        code = omen_graph_reserve(&c->graph, first + chunk->count, err);
    for (uint32_t row = 0; row < chunk->count && code == OMEN_OK; row++) {
        uint32_t hash = id_hash(chunk->ids[row]);
        enum omen_refusal refusal = 0;

        if (find_id(c, chunk->ids[row], hash) != OMEN_SLOT_NONE)
            refusal = OMEN_REFUSED_EXISTS;
        else if (chunk->count > OMEN_SLOTS_MAX - first)
            refusal = OMEN_REFUSED_FULL;
        if (refusal == 0) {
            place_point(c, chunk, row, admit->slot_count);
            omen_slot_table_add(&admit->ids, hash, admit->slot_count);
            admit->slot_count++;
            admit->point_count++;
            continue;
        }
        struct omen_item_error item = {.seq = chunk->seq,
                                       .id = chunk->ids[row],
                                       .index = chunk->indexes[row],
                                       .refusal = refusal};
        if (!omen_chunk_note(chunk, &item))
            code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the item errors of a chunk");
        if (code == OMEN_OK && row > run)
            code = omen_originals_write(&c->originals, admit->slot_count - (row - run), row - run,
                                        chunk->vectors + (size_t)run * chunk->dim, err);
        run = row + 1;
    }
    if (code == OMEN_OK && chunk->count > run)
        code = omen_originals_write(&c->originals, admit->slot_count - (chunk->count - run),
                                    chunk->count - run, chunk->vectors + (size_t)run * chunk->dim,
                                    err);
    return code;
}

static uint32_t find_id(const omen_collection *c, uint64_t id, uint32_t hash)
{
    size_t cursor = hash;
    uint32_t slot;

    do {
        slot = omen_slot_table_next(&c->admit.ids, hash, &cursor);
    } while (slot != OMEN_SLOT_NONE && *omen_graph_id(&c->graph, slot) != id);
    return slot;
}

static uint32_t find_code(const omen_collection *c, const uint8_t *code, float scale, uint32_t hash)
{
    size_t cursor = hash;
    uint32_t slot;

    do {
        slot = omen_slot_table_next(&c->admit.codes, hash, &cursor);
    } while (slot != OMEN_SLOT_NONE &&
             (memcmp(&omen_graph_meta(&c->graph, slot)->scale, &scale, sizeof scale) != 0 ||
              memcmp(omen_graph_code(&c->graph, slot), code, c->graph.stride) != 0));
    return slot;
}

/* Writes the slot's data. Nobody can reach the slot yet: a linked one waits for LINK, and a
 * duplicate is reached by the chain, which is stored last, with release. */
static void place_point(omen_collection *c, const omen_chunk *chunk, uint32_t row, uint32_t slot)
{
    struct omen_admit *admit = &c->admit;
    const uint8_t *code = chunk->codes + row * chunk->stride;
    struct omen_code_meta meta = chunk->metas[row];
    uint32_t hash = code_hash(code, chunk->stride);
    uint32_t head = find_code(c, code, meta.scale, hash);

    memcpy(omen_graph_code(&c->graph, slot), code, chunk->stride);
    *omen_graph_meta(&c->graph, slot) = meta;
    *omen_graph_id(&c->graph, slot) = chunk->ids[row];
    *omen_graph_inverse_length(&c->graph, slot) = chunk->inverse_lengths[row];
    omen_graph_set_born(&c->graph, slot, admit->epoch_number);
    if (c->settings.metric == OMEN_METRIC_INNER_PRODUCT)
        admit->phi_squared = omen_code_phi_squared(admit->phi_squared, meta.norm);
    if (head == OMEN_SLOT_NONE) {
        atomic_store_explicit(omen_graph_chain(&c->graph, slot), OMEN_SLOT_NONE,
                              memory_order_relaxed);
        *omen_graph_home(&c->graph, slot) = 0; /* PROPOSE finds the right one */
        omen_slot_table_add(&admit->codes, hash, slot);
        return;
    }
    *omen_graph_home(&c->graph, slot) = OMEN_CELL_NONE;
    atomic_store_explicit(
        omen_graph_chain(&c->graph, slot),
        atomic_load_explicit(omen_graph_chain(&c->graph, head), memory_order_relaxed),
        memory_order_relaxed);
    atomic_store_explicit(omen_graph_chain(&c->graph, head), slot, memory_order_release);
}
