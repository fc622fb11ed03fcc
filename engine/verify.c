/* verify.c - reads a data directory that no server has open, and names everything in it that is
 * damaged; see engine.h. */
#include <inttypes.h>
#include <stdio.h>

#include "engine/log_scan.h"
#include "engine/offline.h"

#define PATH_BYTES 4096u

static void tell_damage(void *user, const char *sentence)
{
    omen_offline_damage(user, "%s", sentence);
}

static omen_code verify_log(struct omen_offline *offline, int dir, const char *name,
                            omen_error *err)
{
    const struct omen_log_scan scan = {.storage = offline->storage,
                                       .dir = dir,
                                       .title = name,
                                       .damage = tell_damage,
                                       .user = offline};
    struct omen_log_scanned scanned;
    const omen_code code = omen_log_scan(&scan, &scanned, err);

    if (code != OMEN_OK) return code;
    offline->report->records += scanned.records;
    offline->report->bytes += scanned.bytes;
    omen_offline_note(offline,
                      "%s: log of %" PRIu64 " records (%" PRIu64 " to %" PRIu64
                      ") in %u files, %" PRIu64 " bytes",
                      name, scanned.records, scanned.first_position, scanned.last_position,
                      scanned.files, scanned.bytes);
    if (scanned.torn_bytes > 0)
        omen_offline_note(offline,
                          "%s: %" PRIu64 " bytes of an unfinished write at the end of the "
                          "log, which the next start cuts off",
                          name, scanned.torn_bytes);
    return OMEN_OK;
}

static omen_code verify_collection(void *user, const char *name, omen_error *err)
{
    struct omen_offline *offline = user;
    char path[PATH_BYTES];
    omen_code code = OMEN_OK;

    (void)snprintf(path, sizeof path, "%s/%s", offline->data_dir, name);
    const int dir = offline->storage->ops->open_dir(offline->storage, path);
    if (dir < 0) return omen_storage_fail(err, "open %s", path);
    offline->report->collections++;
    code = verify_log(offline, dir, name, err);
    offline->storage->ops->close(offline->storage, dir);
    return code;
}

omen_code omen_offline_verify(const char *data_dir, omen_offline_fn *tell, void *user,
                              struct omen_offline_report *report, omen_error *err)
{
    struct omen_offline offline = {.tell = tell, .user = user, .report = report};
    omen_code code = OMEN_OK;

    *report = (struct omen_offline_report){0};
    code = omen_offline_open(&offline, data_dir, err);
    if (code == OMEN_OK) code = omen_offline_visit(&offline, verify_collection, &offline, err);
    omen_offline_close(&offline);
    if (code == OMEN_OK && report->damages > 0)
        code =
            omen_fail(err, OMEN_DATA_LOSS, "%" PRIu64 " damages in %s", report->damages, data_dir);
    return code;
}
