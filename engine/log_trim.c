/* log_trim.c - see log_trim.h. */
#include "engine/log_trim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/record.h"

#define NOTE "log.trimmed"

static omen_code read_note(struct omen_storage *storage, int file, uint64_t *first,
                           omen_error *err);

omen_code omen_log_trim_load(struct omen_storage *storage, int dir, uint64_t *first,
                             omen_error *err)
{
    *first = 1;
    const int file = storage->ops->open(storage, dir, NOTE, O_RDONLY);
    if (file < 0 && errno == ENOENT) return OMEN_OK;
    if (file < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open " NOTE ": %m");
    const omen_code code = read_note(storage, file, first, err);
    storage->ops->close(storage, file);
    return code;
}

omen_code omen_log_trim_store(struct omen_storage *storage, int dir, uint64_t first,
                              omen_error *err)
{
    const struct omen_record_header header = {
        .type = OMEN_RECORD_FILE, .format_version = OMEN_LOG_FORMAT_VERSION, .position = first};
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES];

    omen_record_encode(&header, NULL, 0, bytes);
    return omen_storage_replace(storage, dir, NOTE, bytes, sizeof bytes, err);
}

/* A file with its own record alone, and the note of where it is. */
omen_code omen_log_trim_begin(struct omen_storage *storage, int dir, uint64_t first,
                              omen_error *err)
{
    const struct omen_record_header own = {
        .type = OMEN_RECORD_FILE, .format_version = OMEN_LOG_FORMAT_VERSION, .position = first};
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES];
    char name[sizeof "log-01234567890123456789.omen"];

    (void)snprintf(name, sizeof name, "log-%020" PRIu64 ".omen", first);
    omen_record_encode(&own, NULL, 0, bytes);
    const omen_code code = omen_storage_replace(storage, dir, name, bytes, sizeof bytes, err);
    return code == OMEN_OK ? omen_log_trim_store(storage, dir, first, err) : code;
}

static omen_code read_note(struct omen_storage *storage, int file, uint64_t *first, omen_error *err)
{
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES + 1]; /* one more than there should be */
    struct omen_record_header header;
    size_t count = sizeof bytes;

    if (omen_storage_read_all(storage, file, bytes, &count, 0) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "read " NOTE ": %m");
    if (count != OMEN_RECORD_HEADER_BYTES || !omen_record_decode(bytes, &header) ||
        header.length != 0 || omen_record_flaw(&header, bytes) != NULL)
        return omen_fail(err, OMEN_DATA_LOSS,
                         NOTE " is damaged at offset 0: it does not say where the log begins");
    if (header.format_version > OMEN_LOG_FORMAT_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         NOTE " has format version %u and this program reads up to %u",
                         header.format_version, OMEN_LOG_FORMAT_VERSION);
    if (header.type != OMEN_RECORD_FILE || header.position == 0)
        return omen_fail(err, OMEN_DATA_LOSS, NOTE " at offset 0: a record of type %u, position 0",
                         header.type);
    *first = header.position;
    return OMEN_OK;
}
