/* recover.c - makes a data directory of what is whole in another one; see engine.h.
 *
 * A collection begins with its newest checkpoint that is whole, if the file of originals holds the
 * vectors that it needs, or with its first record. The log behind it is written again as it is,
 * record by record, up to the first damage, so that the graph is the one that there was. Behind the
 * damage positions do not match any more, and with them the generations of sessions: so whole
 * chunks are kept as chunks without a session, in their order, if their session would have admitted
 * them as far as can be told; openings of sessions are dropped. What a lost record said is lost;
 * that is told by position.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/checkpoint_scan.h"
#include "engine/chunk.h"
#include "engine/log.h"
#include "engine/log_scan.h"
#include "engine/log_trim.h"
#include "engine/manifest.h"
#include "engine/memory.h"
#include "engine/offline.h"
#include "engine/original_rows.h"

#define PATH_BYTES    4096u
#define SESSION_BYTES 32u /* of a chunk's payload: id, generation, seq */

/* What a chunk of a session needs to be taken, as far as the whole records tell. */
struct seen_session {
    uint8_t id[OMEN_SESSION_ID_BYTES];
    uint64_t generation;
    uint64_t seq;
};

struct recovery {
    struct omen_offline *offline;
    const char *name;
    const char *to;
    int dir, made;          /* the storage's: the old directory and the new one */
    uint64_t base;          /* position of the checkpoint that it begins with; 0: none */
    uint64_t first;         /* where the old log begins */
    bool half;              /* its originals */
    uint64_t boundaries[2]; /* its last CHECKPOINT record, and the one before */
    omen_log *log;          /* the new one */
    uint64_t expected;      /* position of the old log's next record */
    bool damaged;           /* a record before is lost */
    uint64_t kept, dropped;
    struct seen_session *sessions;
    size_t session_count, session_room;
    unsigned char *payload;
};

static omen_code recover_collection(void *user, const char *name, omen_error *err);
static omen_code recover_snapshot(void *user, int dir, const char *name, omen_error *err);
static omen_code keep_record(void *user, const struct omen_record_header *header,
                             const unsigned char *payload, omen_error *err);
static omen_code find_session(struct recovery *r, const unsigned char *id, uint64_t generation,
                              struct seen_session **out, omen_error *err);

struct recovering {
    struct omen_offline *offline;
    const char *to;
};

static bool any_name(void *user, const char *name)
{
    if (name[0] == '.') return true;
    *(bool *)user = true;
    return false;
}

static omen_code make_target(const char *to, omen_error *err)
{
    struct omen_storage *storage = omen_storage_files();
    bool full = false;
    int dir = -1;

    if (mkdir(to, 0700) != 0 && errno != EEXIST)
        return omen_fail(err, OMEN_UNAVAILABLE, "create %s: %m", to);
    dir = storage->ops->open_dir(storage, to);
    if (dir < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", to);
    const int listed = storage->ops->list(storage, dir, any_name, &full);
    storage->ops->close(storage, dir);
    if (listed != 0) return omen_fail(err, OMEN_UNAVAILABLE, "list %s: %m", to);
    if (full)
        return omen_fail(err, OMEN_ALREADY_EXISTS,
                         "%s is not empty: recover writes into a new "
                         "directory",
                         to);
    return OMEN_OK;
}

omen_code omen_offline_recover(const char *data_dir, const char *to, omen_offline_fn *tell,
                               void *user, struct omen_offline_report *report, omen_error *err)
{
    struct omen_offline offline = {.tell = tell, .user = user, .report = report};
    struct recovering recovering = {&offline, to};
    omen_code code = OMEN_OK;

    *report = (struct omen_offline_report){0};
    code = omen_offline_open(&offline, data_dir, err);
    if (code == OMEN_OK) code = make_target(to, err);
    if (code == OMEN_OK) code = omen_offline_visit(&offline, recover_collection, &recovering, err);
    if (code == OMEN_OK)
        code = omen_offline_visit_snapshots(&offline, recover_snapshot, &recovering, err);
    omen_offline_close(&offline);
    if (code == OMEN_OK && (report->lost > 0 || report->damages > 0))
        code =
            omen_fail(err, OMEN_DATA_LOSS,
                      "%" PRIu64 " damages in %s; %" PRIu64 " records, snapshots and collections "
                      "are not in %s",
                      report->damages, data_dir, report->lost, to);
    return code;
}

static void tell_damage(void *user, const char *sentence)
{
    struct recovery *r = user;

    omen_offline_damage(r->offline, "%s", sentence);
}

static void tell_checkpoint_damage(void *user, const char *sentence)
{
    struct recovery *r = user;

    omen_offline_damage(r->offline, "%s: %s", r->name, sentence);
}

/* ---- the checkpoint ----------------------------------------------------------------------- */

static omen_code note_boundary(void *user, const struct omen_record_header *header,
                               const unsigned char *payload, omen_error *err)
{
    struct recovery *r = user;

    (void)payload;
    (void)err;
    if (header->type != OMEN_RECORD_CHECKPOINT) return OMEN_OK;
    r->boundaries[1] = r->boundaries[0];
    r->boundaries[0] = header->position;
    return OMEN_OK;
}

/* Are all vectors there that the checkpoint needs? Since the second CHECKPOINT record behind it
 * they may have been erased, or written over, and the log will say so again; else it is damage. */
static omen_code check_originals(struct recovery *r, const struct omen_checkpoint_scanned *found,
                                 bool *good, omen_error *err)
{
    struct omen_original_rows rows;
    uint64_t bad = 0;
    omen_code code =
        omen_original_rows_open(&rows, r->offline->storage, r->dir, found->dim, found->half, err);

    *good = false;
    for (uint32_t slot = 0; code == OMEN_OK && slot < found->slots; slot++) {
        bool fits = true;

        if (!found->lives[slot]) continue;
        code = omen_original_rows_check(&rows, slot, found->hashes[slot], &fits, err);
        bad += !fits;
        if (code == OMEN_OK && !fits && r->boundaries[1] <= found->position)
            omen_offline_damage(r->offline,
                                "%s: %s at offset %" PRIu64 ": the vector in slot %" PRIu32
                                " has a wrong checksum",
                                r->name, rows.name, omen_original_rows_offset(&rows, slot), slot);
    }
    omen_original_rows_close(&rows);
    if (code != OMEN_OK && code != OMEN_NOT_FOUND) return code;
    *good = code == OMEN_OK && bad == 0;
    if (code == OMEN_NOT_FOUND)
        omen_offline_damage(r->offline, "%s: %s is missing", r->name, rows.name);
    else if (bad > 0)
        omen_offline_note(r->offline,
                          "%s: %" PRIu64 " vectors are not those of the checkpoint of "
                          "record %" PRIu64,
                          r->name, bad, found->position);
    return OMEN_OK;
}

static omen_code copy_file(struct recovery *r, const char *name, omen_error *err)
{
    return omen_offline_copy(r->offline, r->dir, r->made, name, err);
}

/* Takes one checkpoint as the beginning, if it is whole and its vectors are there. With vectors
 * that are not its own it is taken only if there is no other way, and `any`. */
static omen_code try_base(struct recovery *r, uint64_t position, bool any, omen_error *err)
{
    const struct omen_checkpoint_scan scan = {.storage = r->offline->storage,
                                              .dir = r->dir,
                                              .position = position,
                                              .damage = any ? NULL : tell_checkpoint_damage,
                                              .user = r};
    struct omen_checkpoint_scanned found;
    bool good = false;
    omen_code code = omen_checkpoint_scan(&scan, &found, err);

    if (!any) r->offline->report->bytes += found.bytes;
    if (code == OMEN_OK && found.whole && position + 1 >= r->first) {
        code = any ? OMEN_OK : check_originals(r, &found, &good, err);
        if (code == OMEN_OK && (good || any)) r->base = position;
        r->half = found.half;
    }
    omen_checkpoint_scanned_deinit(&found);
    return code;
}

static omen_code find_base(struct recovery *r, omen_error *err)
{
    struct omen_storage *storage = r->offline->storage;
    const struct omen_log_scan scan = {
        .storage = storage, .dir = r->dir, .title = r->name, .record = note_boundary, .user = r};
    struct omen_log_scanned scanned;
    struct omen_manifest manifest;
    omen_error why;
    omen_code code = omen_log_scan(&scan, &scanned, err);

    if (code != OMEN_OK) return code;
    code = omen_log_trim_load(storage, r->dir, &r->first, &why);
    if (code == OMEN_DATA_LOSS) { /* told by the scan of the log */
        r->first = UINT64_MAX;
        code = OMEN_OK;
    }
    if (code == OMEN_OK) code = omen_manifest_load(storage, r->dir, &manifest, &why);
    if (code == OMEN_DATA_LOSS) {
        tell_checkpoint_damage(r, why.message);
        code = omen_manifest_find(storage, r->dir, &manifest, &why);
    }
    if (code != OMEN_OK) return omen_fail(err, code, "%s: %s", r->name, why.message);
    if (r->first == UINT64_MAX) r->first = manifest.count > 0 ? 2 : 1; /* the checkpoint will do */
    for (uint32_t i = 0; i < manifest.count && r->base == 0 && code == OMEN_OK; i++)
        code = try_base(r, manifest.positions[i], false, err);
    for (uint32_t i = 0; i < manifest.count && r->base == 0 && code == OMEN_OK; i++)
        if (r->first > 1) code = try_base(r, manifest.positions[i], true, err);
    return code;
}

/* The new directory with what the log goes on from. */
static omen_code begin_directory(struct recovery *r, omen_error *err)
{
    struct omen_storage *storage = r->offline->storage;
    const struct omen_manifest manifest = {.positions = {r->base}, .count = 1};
    char name[OMEN_CHECKPOINT_NAME_BYTES];
    omen_code code = OMEN_OK;

    if (r->base == 0) return OMEN_OK;
    omen_checkpoint_name(r->base, name);
    code = copy_file(r, name, err);
    if (code == OMEN_OK) code = copy_file(r, omen_originals_name(r->half), err);
    if (code == OMEN_OK) code = omen_manifest_store(storage, r->made, &manifest, err);
    if (code == OMEN_OK) code = omen_log_trim_begin(storage, r->made, r->base + 1, err);
    if (code == OMEN_OK) r->offline->report->checkpoints++;
    return code;
}

/* ---- the log ------------------------------------------------------------------------------ */

/* The log as far as it is whole. */
static omen_code rewrite_log(struct recovery *r, const char *path, omen_error *err)
{
    const struct omen_log_scan scan = {.storage = r->offline->storage,
                                       .dir = r->dir,
                                       .title = r->name,
                                       .record = keep_record,
                                       .damage = tell_damage,
                                       .user = r};
    struct omen_log_scanned scanned;
    struct omen_log_report opened;
    omen_code code = omen_log_file_open(r->offline->storage, path, &r->log, &opened, err);

    r->expected = r->base + 1;
    if (code == OMEN_OK) code = omen_log_scan(&scan, &scanned, err);
    if (code == OMEN_OK) code = omen_log_sync(r->log, err);
    omen_log_close(r->log);
    if (code != OMEN_OK) return code;
    r->offline->report->records += scanned.records;
    r->offline->report->bytes += scanned.bytes;
    return OMEN_OK;
}

static void remove_made(struct recovery *r)
{
    struct omen_storage *storage = r->offline->storage;
    const int dir = storage->ops->open_dir(storage, r->to);

    if (dir < 0) return;
    omen_directory_remove(storage, dir, r->to, r->name);
    storage->ops->close(storage, dir);
}

static omen_code recover_into(struct recovery *r, const char *path, omen_error *err)
{
    struct omen_storage *storage = r->offline->storage;
    omen_code code = find_base(r, err);

    if (code != OMEN_OK) return code;
    r->payload = omen_alloc(OMEN_RECORD_PAYLOAD_MAX);
    if (r->payload == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for a record");
    if (mkdir(path, 0700) != 0) return omen_fail(err, OMEN_UNAVAILABLE, "create %s: %m", path);
    r->made = storage->ops->open_dir(storage, path);
    if (r->made < 0) return omen_storage_fail(err, "open %s", path);
    code = begin_directory(r, err);
    if (code == OMEN_OK) code = rewrite_log(r, path, err);
    storage->ops->close(storage, r->made);
    return code;
}

static omen_code recover_collection(void *user, const char *name, omen_error *err)
{
    struct recovering *recovering = user;
    struct omen_offline *offline = recovering->offline;
    struct recovery r = {.offline = offline, .name = name, .to = recovering->to};
    char from[PATH_BYTES];
    char path[PATH_BYTES];
    omen_code code = OMEN_OK;

    (void)snprintf(from, sizeof from, "%s/%s", offline->data_dir, name);
    (void)snprintf(path, sizeof path, "%s/%s", recovering->to, name);
    r.dir = offline->storage->ops->open_dir(offline->storage, from);
    if (r.dir < 0) return omen_storage_fail(err, "open %s", from);
    code = recover_into(&r, path, err);
    offline->storage->ops->close(offline->storage, r.dir);
    omen_free(r.payload);
    omen_free(r.sessions);
    if (code != OMEN_OK) return code;
    offline->report->lost += r.dropped;
    if (r.kept == 0 && r.base == 0) {
        offline->report->lost++;
        omen_offline_note(offline,
                          "%s cannot be recovered: neither its first record nor a "
                          "checkpoint is whole, and nothing else says what it is",
                          name);
        remove_made(&r);
        return OMEN_OK;
    }
    offline->report->collections++;
    if (r.base > 0)
        omen_offline_note(offline, "%s: begins with the checkpoint of record %" PRIu64, name,
                          r.base);
    omen_offline_note(offline, "%s: %" PRIu64 " records recovered, %" PRIu64 " are lost", name,
                      r.kept, r.dropped);
    return OMEN_OK;
}

/* ---- snapshots ---------------------------------------------------------------------------- */

static omen_code recover_snapshot(void *user, int dir, const char *name, omen_error *err)
{
    struct recovering *recovering = user;
    struct omen_offline *offline = recovering->offline;
    char path[PATH_BYTES];
    uint64_t bytes = 0;
    omen_error why;
    omen_code code = omen_offline_check_snapshot(offline, dir, name, &bytes, &why);

    offline->report->bytes += bytes;
    if (code == OMEN_DATA_LOSS) {
        offline->report->lost++;
        return OMEN_OK;
    }
    if (code != OMEN_OK) return omen_fail(err, code, "%s", why.message);
    (void)snprintf(path, sizeof path, "%s/snapshots", recovering->to);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return omen_fail(err, OMEN_UNAVAILABLE, "create %s: %m", path);
    const int made = offline->storage->ops->open_dir(offline->storage, path);
    if (made < 0) return omen_storage_fail(err, "open %s", path);
    code = omen_offline_copy(offline, dir, made, name, err);
    offline->storage->ops->close(offline->storage, made);
    if (code == OMEN_OK) offline->report->snapshots++;
    return code;
}

/* ---- records ------------------------------------------------------------------------------ */

/* Would the record's session have admitted it? Records of no session always are. */
static omen_code session_takes(struct recovery *r, const unsigned char *payload, bool *takes,
                               omen_error *err)
{
    struct seen_session *session = NULL;
    uint64_t generation, seq;
    omen_code code = OMEN_OK;

    memcpy(&generation, payload + OMEN_SESSION_ID_BYTES, sizeof generation);
    memcpy(&seq, payload + OMEN_SESSION_ID_BYTES + sizeof generation, sizeof seq);
    *takes = true;
    if (generation == 0) return OMEN_OK;
    code = find_session(r, payload, generation, &session, err);
    if (code != OMEN_OK) return code;
    *takes = generation >= session->generation && seq > session->seq;
    if (!*takes) return OMEN_OK;
    session->generation = generation;
    session->seq = seq;
    return OMEN_OK;
}

static omen_code append(struct recovery *r, const struct omen_record_header *header,
                        const unsigned char *payload, omen_error *err)
{
    struct iovec part = {(void *)(uintptr_t)payload, header->length};
    uint64_t position = 0;

    r->kept++;
    return omen_log_append(r->log, (enum omen_record_type)header->type, header->algorithm_version,
                           &part, 1, &position, err);
}

static omen_code keep_record(void *user, const struct omen_record_header *header,
                             const unsigned char *payload, omen_error *err)
{
    struct recovery *r = user;
    struct seen_session *session = NULL;
    bool takes = true;
    omen_code code = OMEN_OK;

    if (header->position <= r->base) return OMEN_OK; /* the checkpoint has it */
    if (header->position != r->expected) {
        r->dropped += header->position - r->expected;
        r->damaged = true;
    }
    r->expected = header->position + 1;
    if (r->base == 0 && r->kept == 0 && header->position != 1) { /* of what nobody knows */
        r->dropped++;
        return OMEN_OK;
    }
    if (header->type == OMEN_RECORD_OPEN && header->length >= OMEN_SESSION_ID_BYTES) {
        code = find_session(r, payload, header->position, &session, err);
        if (code != OMEN_OK) return code;
        session->generation = header->position;
        return r->damaged ? OMEN_OK : append(r, header, payload, err);
    }
    if (header->type != OMEN_RECORD_CHUNK || header->length < SESSION_BYTES)
        return append(r, header, payload, err);
    code = session_takes(r, payload, &takes, err);
    if (code != OMEN_OK || !r->damaged)
        return code != OMEN_OK ? code : append(r, header, payload, err);
    if (!takes) return OMEN_OK; /* it had no effect then, and shall have none now */
    memcpy(r->payload, payload, header->length);
    memset(r->payload, 0, SESSION_BYTES);
    return append(r, header, r->payload, err);
}

static omen_code find_session(struct recovery *r, const unsigned char *id, uint64_t generation,
                              struct seen_session **out, omen_error *err)
{
    for (size_t i = r->session_count; i-- > 0;) {
        *out = &r->sessions[i];
        if (memcmp((*out)->id, id, OMEN_SESSION_ID_BYTES) == 0) return OMEN_OK;
    }
    if (r->session_count == r->session_room) {
        const size_t room = r->session_room * 2 + 64;
        struct seen_session *more = omen_realloc(r->sessions, room * sizeof *more);

        if (more == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%zu sessions", room);
        r->sessions = more;
        r->session_room = room;
    }
    *out = &r->sessions[r->session_count++];
    **out = (struct seen_session){.generation = generation};
    memcpy((*out)->id, id, OMEN_SESSION_ID_BYTES);
    return OMEN_OK;
}
