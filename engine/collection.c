/* collection.c - making, opening, replaying and letting go of a collection.
 *
 * Start-up goes through the very functions of normal work: each record is admitted, each complete
 * epoch applied; an open tail is closed by a CLOSE record at the end. Nothing else could give the
 * same graph.
 */
#include "engine/collection.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/directory.h"
#include "engine/engine_state.h"
#include "engine/epoch.h"
#include "engine/ingest.h"
#include "engine/memory.h"
#include "engine/query_sample.h"
#include "engine/settings.h"
#include "engine/stream.h"
#include <xxhash.h>

#define REPLAY_TELL_RECORDS 1000u

struct replay {
    omen_collection *collection;
    uint64_t told;             /* position at the last progress event */
    uint64_t checkpoint_bytes; /* of the records since the last CHECKPOINT */
    uint64_t from, last;       /* positions */
};

static omen_code replay_record(void *user, const struct omen_record *record, omen_error *err);
static omen_code replay_log(omen_collection *c, const struct omen_log_report *log, omen_error *err);
static omen_code replay_first(omen_collection *c, const struct omen_record *record,
                              omen_error *err);
static omen_code replay_one(omen_collection *c, const struct omen_record *record,
                            struct omen_epoch_list *complete, omen_error *err);
static omen_code replay_open(omen_collection *c, const struct omen_record *record, omen_error *err);
static omen_code replay_chunk(omen_collection *c, const struct omen_record *record,
                              struct omen_epoch_list *complete, omen_error *err);
static omen_code apply_all(omen_collection *c, struct omen_epoch_list *complete, omen_error *err);
static omen_code close_tail(omen_collection *c, omen_error *err);
static omen_code switch_algorithm(omen_collection *c, omen_error *err);
static void destroy(omen_collection *c);
static void remove_files(const omen_collection *c);
static const char *base_name(const char *dir);

omen_code omen_collection_make(omen_engine *engine, const char *dir, const char *name,
                               const uint8_t *incarnation,
                               const struct omen_collection_settings *settings, omen_error *err)
{
    uint8_t payload[OMEN_SETTINGS_BYTES_MAX];
    struct iovec part = {
        payload, omen_settings_write(payload, OMEN_ALGORITHM_VERSION, name, incarnation, settings)};
    struct omen_log_report report;
    struct omen_log *log = NULL;
    uint64_t position = 0;
    omen_code code = omen_log_file_open(engine->storage, dir, &log, &report, err);

    if (code == OMEN_OK)
        code = omen_log_append(log, OMEN_RECORD_SETTINGS, OMEN_ALGORITHM_VERSION, &part, 1,
                               &position, err);
    if (code == OMEN_OK) code = omen_log_sync(log, err);
    omen_log_close(log);
    return code;
}

omen_code omen_collection_load(omen_engine *engine, char *dir, omen_collection **out,
                               omen_error *err)
{
    omen_collection *c = omen_alloc_zeroed(sizeof *c);
    struct omen_log_report report;
    omen_code code = OMEN_OK;

    *out = NULL;
    if (c == NULL) {
        omen_free(dir);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a collection");
    }
    c->engine = engine;
    c->dir = dir;
    atomic_init(&c->references, 1);
    (void)pthread_mutex_init(&c->admit_mutex, NULL);
    (void)pthread_mutex_init(&c->apply_mutex, NULL);
    (void)pthread_mutex_init(&c->tuning_mutex, NULL);
    (void)pthread_mutex_init(&c->calibrate_mutex, NULL);
    code = omen_log_file_open(engine->storage, dir, &c->log, &report, err);
    if (code == OMEN_OK && report.torn_bytes > 0)
        omen_engine_tell(engine, OMEN_EVENT_WARNING,
                         "%s/%s: %llu bytes of an unfinished write were cut off after record %llu",
                         base_name(dir), report.torn_file, (unsigned long long)report.torn_bytes,
                         (unsigned long long)report.last_position);
    if (code == OMEN_OK) code = omen_collection_load_checkpoint(c, &report, err);
    if (code == OMEN_OK) code = replay_log(c, &report, err);
    if (code == OMEN_OK) code = close_tail(c, err);
    if (code == OMEN_OK) code = switch_algorithm(c, err);
    if (code == OMEN_OK && engine->calibrate_seconds > 0)
        code = omen_query_sample_create(c->settings.dim, &c->sample, err);
    if (code != OMEN_OK) {
        /* The logs of all collections have the same file names: say whose it is. */
        if (err != NULL) code = omen_fail(err, code, "%s: %s", base_name(dir), err->message);
        destroy(c);
        return code;
    }
    omen_memory_budget_settle(c, omen_memory_budget_count(c), 0, false);
    atomic_store(&c->checkpoints.death_s, c->admit.death_s);
    atomic_store_explicit(&c->durable_position, c->admit.position, memory_order_release);
    *out = c;
    return OMEN_OK;
}

void omen_collection_tune(omen_collection *collection, const struct omen_tuning *tuning)
{
    (void)pthread_mutex_lock(&collection->tuning_mutex);
    collection->tuning = *tuning;
    (void)pthread_mutex_unlock(&collection->tuning_mutex);
    if (tuning->calibration.ef[0] != 0) omen_tuned_set(&collection->tuned, &tuning->calibration);
}

struct omen_storage *omen_collection_storage(const omen_collection *collection)
{
    return collection->engine->storage;
}

void omen_collection_retain(omen_collection *collection)
{
    atomic_fetch_add_explicit(&collection->references, 1, memory_order_relaxed);
}

void omen_collection_release(omen_collection *collection)
{
    if (collection == NULL) return;
    if (atomic_fetch_sub_explicit(&collection->references, 1, memory_order_acq_rel) == 1)
        destroy(collection);
}

uint32_t omen_collection_dim(const omen_collection *collection)
{
    return collection->settings.dim;
}

void omen_collection_get_info(omen_collection *collection, struct omen_collection_info *out)
{
    const struct omen_published *p = &collection->published;
    size_t i = 0;

    memset(out, 0, sizeof *out);
    memcpy(out->name, collection->name, sizeof out->name);
    memcpy(out->incarnation, collection->incarnation, sizeof out->incarnation);
    out->settings = collection->settings;
    out->searchable_position = atomic_load_explicit(&p->position, memory_order_acquire);
    out->points = atomic_load_explicit(&p->points, memory_order_acquire);
    out->slots = atomic_load_explicit(&p->slots_used, memory_order_acquire);
    out->slots_max = atomic_load_explicit(&p->slots, memory_order_acquire);
    out->checkpoint_position = atomic_load_explicit(&p->checkpoint_position, memory_order_acquire);
    out->algorithm_version = atomic_load_explicit(&collection->algorithm, memory_order_relaxed);
    out->epoch = atomic_load_explicit(&p->epoch, memory_order_acquire);
    out->log_position = atomic_load_explicit(&collection->durable_position, memory_order_acquire);
    out->memory_bytes = atomic_load_explicit(&collection->table_bytes, memory_order_relaxed) +
                        atomic_load_explicit(&collection->hash_bytes, memory_order_relaxed);
    out->log_bytes = omen_log_bytes(collection->log);
    (void)pthread_mutex_lock(&collection->tuning_mutex);
    out->settings.target_recall = collection->tuning.target;
    out->calibration = collection->tuning.calibration;
    (void)pthread_mutex_unlock(&collection->tuning_mutex);
    omen_checkpointer_get_info(collection, &out->checkpoint);
    out->vectors_checked = atomic_load(&collection->originals.doubts->checked);
    out->vectors_unchecked = atomic_load(&collection->originals.doubts->count);
    out->vectors_damaged = atomic_load(&collection->originals.doubts->damaged_count);
    if (collection->engine->ingest != NULL)
        out->refusal_code = omen_ingest_check(collection, &out->refusal);
#define OP(field, type) out->kernels[i++] = collection->kernels.field##_name;
    OMEN_KERNEL_OPS(OP)
#undef OP
}

uint64_t omen_collection_graph_hash(omen_collection *collection)
{
    XXH3_state_t *state = XXH3_createState();
    uint32_t slots;
    uint64_t hash = 0;

    if (state == NULL) return 0;
    (void)XXH3_64bits_reset(state);
    (void)pthread_mutex_lock(&collection->apply_mutex);
    slots = atomic_load_explicit(&collection->published.slots, memory_order_acquire);
    for (uint32_t slot = 0; slot < slots; slot++) {
        uint32_t words[OMEN_ROW_LINKS + 1] = {0};

        /* ADMIT may be ahead, and have begun to use the slots of later epochs. */
        if (*omen_graph_state(&collection->graph, slot) == OMEN_NODE_LINKED)
            words[0] = omen_row_read(omen_graph_row(&collection->graph, slot), words + 1);
        (void)XXH3_64bits_update(state, words, (words[0] + 1) * sizeof *words);
    }
    (void)pthread_mutex_unlock(&collection->apply_mutex);
    hash = XXH3_64bits_digest(state);
    (void)XXH3_freeState(state);
    return hash;
}

void omen_collection_tell_loading(const omen_collection *collection, uint64_t done, uint64_t all)
{
    omen_engine_tell_loading(collection->engine, 0.5 * (double)done / (double)(all + 1));
}

/* ---- the log ------------------------------------------------------------------------------- */

static omen_code replay_log(omen_collection *c, const struct omen_log_report *log, omen_error *err)
{
    struct replay replay = {.collection = c,
                            .from = c->admit.position + 1,
                            .told = c->admit.position,
                            .last = log->last_position};
    struct timespec begin, end;
    omen_code code;

    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    code = omen_log_read(c->log, replay.from, replay_record, &replay, err);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    if (code != OMEN_OK) return code;
    if (c->settings.dim == 0)
        return omen_fail(err, OMEN_DATA_LOSS, "the log has no SETTINGS record");
    c->admit.checkpoint_log_bytes = omen_log_bytes(c->log) - replay.checkpoint_bytes;
    atomic_store(&c->checkpoints.tail_ns, (uint64_t)((end.tv_sec - begin.tv_sec) * 1000000000 +
                                                     end.tv_nsec - begin.tv_nsec));
    return OMEN_OK;
}

static omen_code replay_record(void *user, const struct omen_record *record, omen_error *err)
{
    struct replay *replay = user;
    omen_collection *c = replay->collection;
    struct omen_epoch_list complete = {0};
    omen_code code = OMEN_OK;

    if (record->position == 1) return replay_first(c, record, err);
    if (record->algorithm_version > OMEN_ALGORITHM_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         "record %llu was written under algorithm version %u; this server knows %u",
                         (unsigned long long)record->position, record->algorithm_version,
                         OMEN_ALGORITHM_VERSION);
    if (record->algorithm_version != c->admit.algorithm)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "record %llu was written under algorithm version %u, and no SETTINGS "
                         "record before it switches from %u",
                         (unsigned long long)record->position, record->algorithm_version,
                         c->admit.algorithm);
    replay->checkpoint_bytes += OMEN_RECORD_HEADER_BYTES + record->length;
    if (record->type == OMEN_RECORD_CHECKPOINT) replay->checkpoint_bytes = 0;
    code = replay_one(c, record, &complete, err);
    if (code == OMEN_OK) code = apply_all(c, &complete, err);
    while (complete.first != NULL) { /* what a failure left */
        struct omen_epoch *epoch = complete.first;

        complete.first = epoch->next;
        omen_epoch_destroy(epoch);
    }
    omen_engine_tell_loading(c->engine, 0.5 + 0.5 * (double)(record->position - replay->from + 1) /
                                                  (double)(replay->last - replay->from + 1));
    if (code == OMEN_OK && record->position - replay->told >= REPLAY_TELL_RECORDS) {
        replay->told = record->position;
        omen_engine_tell(c->engine, OMEN_EVENT_INFO,
                         "collection '%s': %llu records replayed, %llu points", c->name,
                         (unsigned long long)record->position,
                         (unsigned long long)c->admit.point_count);
    }
    return code;
}

static omen_code replay_first(omen_collection *c, const struct omen_record *record, omen_error *err)
{
    struct omen_settings_made made;
    omen_code code = OMEN_OK;

    if (record->type != OMEN_RECORD_SETTINGS)
        return omen_fail(err, OMEN_DATA_LOSS, "record 1 has type %d; SETTINGS is the first",
                         (int)record->type);
    if (record->algorithm_version < OMEN_ALGORITHM_VERSION_MIN ||
        record->algorithm_version > OMEN_ALGORITHM_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         "record 1 was written under algorithm version %u; this server knows %u "
                         "to %u",
                         record->algorithm_version, OMEN_ALGORITHM_VERSION_MIN,
                         OMEN_ALGORITHM_VERSION);
    code =
        omen_settings_read(record->payload, record->length, record->algorithm_version, &made, err);
    if (code == OMEN_OK) code = omen_collection_begin(c, &made, record->algorithm_version, 0, err);
    c->admit.position = record->position;
    atomic_store_explicit(&c->published.position, record->position, memory_order_release);
    return code;
}

omen_code omen_collection_begin(omen_collection *collection, const struct omen_settings_made *made,
                                uint32_t algorithm, uint32_t keep, omen_error *err)
{
    omen_collection *c = collection;
    omen_code code;

    memcpy(c->name, made->name, sizeof c->name);
    memcpy(c->incarnation, made->incarnation, sizeof c->incarnation);
    c->settings = made->settings;
    c->tuning.target = made->settings.target_recall;
    omen_kernels_pick(c->settings.dim, c->engine->isas, &c->kernels);
    code = omen_graph_init(&c->graph, c->settings.dim, err);
    if (code == OMEN_OK) code = omen_cells_init(&c->cells, err);
    if (code == OMEN_OK)
        code = omen_originals_open(
            &c->originals, c->engine->storage,
            &(struct omen_originals_options){.dir = c->dir,
                                             .dim = c->settings.dim,
                                             .half = c->settings.originals == OMEN_ORIGINALS_F16,
                                             .keep = keep,
                                             .kernels = &c->kernels},
            err);
    if (code == OMEN_OK) code = omen_admit_init(&c->admit, algorithm, &c->settings, err);
    atomic_store_explicit(&c->algorithm, algorithm, memory_order_relaxed);
    return code;
}

static omen_code replay_one(omen_collection *c, const struct omen_record *record,
                            struct omen_epoch_list *complete, omen_error *err)
{
    uint64_t now_s = 0;

    switch (record->type) {
    case OMEN_RECORD_OPEN:
        return replay_open(c, record, err);
    case OMEN_RECORD_CHUNK:
        return replay_chunk(c, record, complete, err);
    case OMEN_RECORD_CLOSE:
        return omen_admit_close(c, record->position, complete, err);
    case OMEN_RECORD_SETTINGS:
        return omen_admit_settings(c, record, complete, err);
    case OMEN_RECORD_EXPIRE:
        if (record->length != sizeof now_s || c->admit.algorithm < 2) break;
        memcpy(&now_s, record->payload, sizeof now_s);
        if (now_s > UINT32_MAX) break;
        return omen_admit_expire(c, record->position, (uint32_t)now_s, complete, err);
    case OMEN_RECORD_CHECKPOINT:
        if (c->admit.algorithm < 2) break;
        return omen_admit_checkpoint(c, record->position, complete, err);
    case OMEN_RECORD_FILE:
        break;
    }
    return omen_fail(err, OMEN_DATA_LOSS,
                     "record %llu of type %d and %u bytes cannot be under algorithm version %u",
                     (unsigned long long)record->position, (int)record->type, record->length,
                     c->admit.algorithm);
}

static omen_code replay_open(omen_collection *c, const struct omen_record *record, omen_error *err)
{
    struct omen_open_payload open = {0};
    size_t wanted = c->admit.algorithm < 2 ? OMEN_SESSION_ID_BYTES : sizeof open;

    if (record->length != wanted)
        return omen_fail(err, OMEN_DATA_LOSS, "record %llu: an OPEN of %u bytes",
                         (unsigned long long)record->position, record->length);
    memcpy(&open, record->payload, wanted);
    return omen_admit_open(c, record->position, open.session_id, open.errors_seen_seq, NULL, err);
}

static bool chunk_may_be(const omen_chunk *chunk, uint32_t algorithm)
{
    return algorithm >= 2 || (chunk->mode == OMEN_WRITE_INSERT_ONLY && chunk->keyed == NULL &&
                              chunk->expires == NULL && chunk->delete_count == 0 &&
                              chunk->error_count == 0 && chunk->generation != 0);
}

/* A chunk that was good enough for the log is good now: what encoding refuses today, it refused
 * then. */
static omen_code replay_chunk(omen_collection *c, const struct omen_record *record,
                              struct omen_epoch_list *complete, omen_error *err)
{
    omen_chunk *chunk = NULL;
    omen_code code = omen_chunk_parse(record, c->settings.dim, &chunk, err);
    uint32_t count = code == OMEN_OK ? chunk->count : 0;

    if (code == OMEN_OK && !chunk_may_be(chunk, c->admit.algorithm))
        code = omen_fail(err, OMEN_DATA_LOSS,
                         "record %llu holds what algorithm version %u does not know",
                         (unsigned long long)record->position, c->admit.algorithm);
    if (code == OMEN_OK) code = omen_chunk_encode(chunk, &c->kernels, &c->settings, err);
    if (code == OMEN_OK && chunk->count != count)
        code = omen_fail(err, OMEN_DATA_LOSS, "record %llu holds a point that no check lets in",
                         (unsigned long long)record->position);
    if (code == OMEN_OK) code = omen_admit_chunk(c, record->position, chunk, NULL, complete, err);
    omen_chunk_destroy(chunk);
    return code;
}

static omen_code apply_all(omen_collection *c, struct omen_epoch_list *complete, omen_error *err)
{
    omen_code code = OMEN_OK;

    while (complete->first != NULL && code == OMEN_OK) {
        struct omen_epoch *epoch = complete->first;

        complete->first = epoch->next;
        if (epoch->next == NULL) complete->last = NULL;
        code = omen_epoch_apply(c->engine->step, c, epoch, err);
        omen_epoch_destroy(epoch);
    }
    return code;
}

/* What was admitted but in no complete epoch becomes one, as if a writer had been waiting. */
static omen_code close_tail(omen_collection *c, omen_error *err)
{
    struct omen_epoch_list complete = {0};
    uint64_t position = 0;
    omen_error why;
    omen_code code;

    if (!omen_admit_open_dirty(&c->admit)) return OMEN_OK;
    code = omen_log_append(c->log, OMEN_RECORD_CLOSE, (uint16_t)c->admit.algorithm, NULL, 0,
                           &position, &why);
    if (code == OMEN_RESOURCE_EXHAUSTED && strcmp(why.reason, OMEN_REASON_DISK_FULL) == 0) {
        /* The log thread closes it when there is room: until then it is durable, and not
         * searchable, as far as nobody was told that it is. */
        omen_room_note(&c->engine->room, &why, true);
        return OMEN_OK;
    }
    if (code != OMEN_OK) return omen_fail_because(err, code, why.reason, "%s", why.message);
    code = omen_log_sync(c->log, err);
    if (code == OMEN_OK) code = omen_admit_close(c, position, &complete, err);
    if (code == OMEN_OK) code = apply_all(c, &complete, err);
    return code;
}

/* A collection of an older version goes on under ours. */
static omen_code switch_algorithm(omen_collection *c, omen_error *err)
{
    const uint32_t change[2] = {OMEN_SETTING_ALGORITHM, OMEN_ALGORITHM_VERSION};
    struct iovec part = {(void *)(uintptr_t)change, sizeof change};
    struct omen_record record = {
        .type = OMEN_RECORD_SETTINGS, .payload = change, .length = sizeof change};
    struct omen_epoch_list complete = {0};
    uint32_t old = c->admit.algorithm;
    omen_code code;

    if (old == OMEN_ALGORITHM_VERSION) return OMEN_OK;
    code = omen_log_append(c->log, OMEN_RECORD_SETTINGS, (uint16_t)old, &part, 1, &record.position,
                           err);
    if (code == OMEN_OK) code = omen_log_sync(c->log, err);
    if (code == OMEN_OK) code = omen_admit_settings(c, &record, &complete, err);
    if (code == OMEN_OK) code = apply_all(c, &complete, err);
    if (code == OMEN_OK)
        omen_engine_tell(c->engine, OMEN_EVENT_INFO,
                         "collection '%s': goes on under algorithm version %u, after %u", c->name,
                         OMEN_ALGORITHM_VERSION, old);
    return code;
}

void omen_collection_empty(omen_collection *collection)
{
    omen_collection *c = collection;

    if (c->admit.open != NULL) omen_admit_deinit(c);
    memset(&c->admit, 0, sizeof c->admit);
    omen_originals_close(&c->originals);
    if (c->cells.pivots != NULL) omen_cells_deinit(&c->cells);
    omen_regions_deinit(&c->regions);
    omen_graph_deinit(&c->graph);
    c->settings.dim = 0;
}

static void destroy(omen_collection *c)
{
    while (c->complete_first != NULL) {
        struct omen_epoch *epoch = c->complete_first;

        c->complete_first = epoch->next;
        omen_epoch_destroy(epoch);
    }
    omen_memory_budget_leave(c);
    omen_checkpointer_forget(c);
    omen_collection_empty(c);
    omen_log_close(c->log);
    if (c->dropped) remove_files(c);
    omen_query_sample_destroy(c->sample);
    (void)pthread_mutex_destroy(&c->calibrate_mutex);
    (void)pthread_mutex_destroy(&c->tuning_mutex);
    (void)pthread_mutex_destroy(&c->apply_mutex);
    (void)pthread_mutex_destroy(&c->admit_mutex);
    omen_free(c->dir);
    omen_free(c);
}

/* The directory was renamed when the collection was dropped: what is left after a crash in here is
 * removed at the next start. */
static void remove_files(const omen_collection *c)
{
    const omen_engine *engine = c->engine;
    char dropped[OMEN_DIRECTORY_NAME_BYTES];

    omen_directory_name(c->incarnation, ".dropped", dropped);
    omen_directory_remove(engine->storage, engine->dir, engine->data_dir, dropped);
}

static const char *base_name(const char *dir)
{
    const char *slash = strrchr(dir, '/');

    return slash == NULL ? dir : slash + 1;
}
