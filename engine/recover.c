/* recover.c - makes a data directory of what is whole in another one; see engine.h.
 *
 * A collection begins with its first record. Up to the first damage the log is written again as it
 * is, record by record, so that the graph is the one that there was. Behind it positions do not
 * match any more, and with them the generations of sessions: so whole chunks are kept as chunks
 * without a session, in their order, if their session would have admitted them as far as can be
 * told; openings of sessions are dropped. What a lost record said is lost; that is told by
 * position.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/chunk.h"
#include "engine/log.h"
#include "engine/log_scan.h"
#include "engine/memory.h"
#include "engine/offline.h"

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
    omen_log *log;     /* the new one */
    uint64_t expected; /* position of the old log's next record */
    bool damaged;      /* a record before is lost */
    uint64_t kept, dropped;
    struct seen_session *sessions;
    size_t session_count, session_room;
    unsigned char *payload;
};

static omen_code recover_collection(void *user, const char *name, omen_error *err);
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
    omen_offline_close(&offline);
    if (code == OMEN_OK && (report->lost > 0 || report->damages > 0))
        code = omen_fail(err, OMEN_DATA_LOSS,
                         "%" PRIu64 " damages in %s; %" PRIu64 " records and collections are not "
                         "in %s",
                         report->damages, data_dir, report->lost, to);
    return code;
}

static void tell_damage(void *user, const char *sentence)
{
    struct recovery *r = user;

    omen_offline_damage(r->offline, "%s", sentence);
}

/* The log as far as it is whole, in a directory of the same name. */
static omen_code rewrite_log(struct recovery *r, int dir, const char *path, omen_error *err)
{
    const struct omen_log_scan scan = {.storage = r->offline->storage,
                                       .dir = dir,
                                       .title = r->name,
                                       .record = keep_record,
                                       .damage = tell_damage,
                                       .user = r};
    struct omen_log_scanned scanned;
    struct omen_log_report opened;
    omen_code code = omen_log_file_open(r->offline->storage, path, &r->log, &opened, err);

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

static omen_code recover_collection(void *user, const char *name, omen_error *err)
{
    struct recovering *recovering = user;
    struct omen_offline *offline = recovering->offline;
    struct recovery r = {.offline = offline, .name = name, .to = recovering->to, .expected = 1};
    char from[PATH_BYTES];
    char path[PATH_BYTES];
    omen_code code = OMEN_OK;

    (void)snprintf(from, sizeof from, "%s/%s", offline->data_dir, name);
    (void)snprintf(path, sizeof path, "%s/%s", recovering->to, name);
    const int dir = offline->storage->ops->open_dir(offline->storage, from);
    if (dir < 0) return omen_storage_fail(err, "open %s", from);
    r.payload = omen_alloc(OMEN_RECORD_PAYLOAD_MAX);
    if (r.payload == NULL) code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for a record");
    if (code == OMEN_OK && mkdir(path, 0700) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "create %s: %m", path);
    if (code == OMEN_OK) code = rewrite_log(&r, dir, path, err);
    offline->storage->ops->close(offline->storage, dir);
    omen_free(r.payload);
    omen_free(r.sessions);
    if (code != OMEN_OK) return code;
    offline->report->lost += r.dropped;
    if (r.kept == 0) {
        offline->report->lost++;
        omen_offline_note(offline,
                          "%s cannot be recovered: its first record, which says what it "
                          "is, is lost",
                          name);
        remove_made(&r);
        return OMEN_OK;
    }
    offline->report->collections++;
    omen_offline_note(offline, "%s: %" PRIu64 " records recovered, %" PRIu64 " are lost", name,
                      r.kept, r.dropped);
    return OMEN_OK;
}

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

    if (header->position != r->expected) {
        r->dropped += header->position - r->expected;
        r->damaged = true;
    }
    r->expected = header->position + 1;
    if (r->kept == 0 && header->position != 1) { /* nobody knows what it belongs to */
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
