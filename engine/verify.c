/* verify.c - reads a data directory that no server has open, and names everything in it that is
 * damaged; see engine.h. */
#include <inttypes.h>
#include <stdio.h>

#include "engine/checkpoint_scan.h"
#include "engine/log_scan.h"
#include "engine/manifest.h"
#include "engine/offline.h"
#include "engine/original_rows.h"

#define PATH_BYTES 4096u

/* One collection's directory. */
struct verifying {
    struct omen_offline *offline;
    const char *name;
    int dir;
    uint64_t newest;     /* checkpoint that is named */
    uint64_t tail;       /* whole records behind it */
    uint32_t boundaries; /* CHECKPOINT records among them */
};

static void tell_damage(void *user, const char *sentence)
{
    struct verifying *v = user;

    omen_offline_damage(v->offline, "%s: %s", v->name, sentence);
}

/* The log's own sentences begin with the directory's name. */
static void tell_log_damage(void *user, const char *sentence)
{
    struct verifying *v = user;

    omen_offline_damage(v->offline, "%s", sentence);
}

static omen_code count_record(void *user, const struct omen_record_header *header,
                              const unsigned char *payload, omen_error *err)
{
    struct verifying *v = user;

    (void)payload;
    (void)err;
    if (header->position <= v->newest) return OMEN_OK;
    v->tail++;
    v->boundaries += header->type == OMEN_RECORD_CHECKPOINT;
    return OMEN_OK;
}

static omen_code verify_log(struct verifying *v, omen_error *err)
{
    const struct omen_log_scan scan = {.storage = v->offline->storage,
                                       .dir = v->dir,
                                       .title = v->name,
                                       .record = count_record,
                                       .damage = tell_log_damage,
                                       .user = v};
    struct omen_log_scanned scanned;
    const omen_code code = omen_log_scan(&scan, &scanned, err);

    if (code != OMEN_OK) return code;
    v->offline->report->records += scanned.records;
    v->offline->report->bytes += scanned.bytes;
    omen_offline_note(v->offline,
                      "%s: log of %" PRIu64 " records (%" PRIu64 " to %" PRIu64
                      ") in %u files, %" PRIu64 " bytes",
                      v->name, scanned.records, scanned.first_position, scanned.last_position,
                      scanned.files, scanned.bytes);
    if (scanned.torn_bytes > 0)
        omen_offline_note(v->offline,
                          "%s: %" PRIu64 " bytes of an unfinished write at the end of "
                          "the log, which the next start cuts off",
                          v->name, scanned.torn_bytes);
    if (scanned.first_position > v->newest + 1)
        omen_offline_damage(v->offline,
                            "%s: the log begins at record %" PRIu64 ", and there is no "
                            "checkpoint of the records before",
                            v->name, scanned.first_position);
    return OMEN_OK;
}

/* Every row of a slot that lives in the checkpoint has the hash that stands there. Since then it
 * can have been erased, or used again, only if the log has two boundaries more (grace.h). */
static omen_code verify_originals(struct verifying *v, const struct omen_checkpoint_scanned *found,
                                  omen_error *err)
{
    struct omen_original_rows rows;
    uint64_t bad = 0;
    omen_code code =
        omen_original_rows_open(&rows, v->offline->storage, v->dir, found->dim, found->half, err);

    if (code == OMEN_NOT_FOUND) {
        omen_offline_damage(v->offline, "%s: %s is missing", v->name, rows.name);
        return OMEN_OK;
    }
    for (uint32_t slot = 0; code == OMEN_OK && slot < found->slots; slot++) {
        bool good = true;

        if (!found->lives[slot]) continue;
        code = omen_original_rows_check(&rows, slot, found->hashes[slot], &good, err);
        if (code != OMEN_OK || good) continue;
        bad++;
        if (v->boundaries < 2)
            omen_offline_damage(v->offline,
                                "%s: %s at offset %" PRIu64 ": the vector in slot %" PRIu32
                                " has a wrong checksum",
                                v->name, rows.name, omen_original_rows_offset(&rows, slot), slot);
    }
    if (code == OMEN_OK) v->offline->report->bytes += (uint64_t)rows.size;
    omen_original_rows_close(&rows);
    if (code == OMEN_OK && bad > 0 && v->boundaries >= 2)
        omen_offline_note(v->offline,
                          "%s: %" PRIu64 " vectors are not those of the checkpoint; "
                          "the log behind it tells of others",
                          v->name, bad);
    return code;
}

static omen_code verify_checkpoints(struct verifying *v, omen_error *err)
{
    struct omen_storage *storage = v->offline->storage;
    struct omen_manifest manifest;
    omen_error why;
    omen_code code = omen_manifest_load(storage, v->dir, &manifest, &why);

    if (code == OMEN_DATA_LOSS) {
        tell_damage(v, why.message);
        code = omen_manifest_find(storage, v->dir, &manifest, &why);
    }
    if (code != OMEN_OK) return omen_fail(err, code, "%s: %s", v->name, why.message);
    v->newest = manifest.count > 0 ? manifest.positions[0] : 0;
    code = verify_log(v, err);
    for (uint32_t i = 0; i < manifest.count && code == OMEN_OK; i++) {
        const struct omen_checkpoint_scan scan = {.storage = storage,
                                                  .dir = v->dir,
                                                  .position = manifest.positions[i],
                                                  .damage = tell_damage,
                                                  .user = v};
        struct omen_checkpoint_scanned found;

        code = omen_checkpoint_scan(&scan, &found, err);
        v->offline->report->checkpoints++;
        v->offline->report->bytes += found.bytes;
        if (code == OMEN_OK && found.whole && i == 0) code = verify_originals(v, &found, err);
        omen_checkpoint_scanned_deinit(&found);
    }
    return code;
}

static omen_code verify_collection(void *user, const char *name, omen_error *err)
{
    struct omen_offline *offline = user;
    struct verifying v = {.offline = offline, .name = name};
    char path[PATH_BYTES];
    omen_code code = OMEN_OK;

    (void)snprintf(path, sizeof path, "%s/%s", offline->data_dir, name);
    v.dir = offline->storage->ops->open_dir(offline->storage, path);
    if (v.dir < 0) return omen_storage_fail(err, "open %s", path);
    offline->report->collections++;
    code = verify_checkpoints(&v, err);
    offline->storage->ops->close(offline->storage, v.dir);
    return code;
}

static omen_code verify_snapshot(void *user, int dir, const char *name, omen_error *err)
{
    struct omen_offline *offline = user;
    omen_error why;
    uint64_t bytes = 0;
    const omen_code code = omen_offline_check_snapshot(offline, dir, name, &bytes, &why);

    offline->report->snapshots++;
    offline->report->bytes += bytes;
    if (code == OMEN_OK || code == OMEN_DATA_LOSS) return OMEN_OK;
    return omen_fail(err, code, "%s", why.message);
}

omen_code omen_offline_verify(const char *data_dir, omen_offline_fn *tell, void *user,
                              struct omen_offline_report *report, omen_error *err)
{
    struct omen_offline offline = {.tell = tell, .user = user, .report = report};
    omen_code code = OMEN_OK;

    *report = (struct omen_offline_report){0};
    code = omen_offline_open(&offline, data_dir, err);
    if (code == OMEN_OK) code = omen_offline_visit(&offline, verify_collection, &offline, err);
    if (code == OMEN_OK)
        code = omen_offline_visit_snapshots(&offline, verify_snapshot, &offline, err);
    omen_offline_close(&offline);
    if (code == OMEN_OK && report->damages > 0)
        code =
            omen_fail(err, OMEN_DATA_LOSS, "%" PRIu64 " damages in %s", report->damages, data_dir);
    return code;
}
