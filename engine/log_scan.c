/* log_scan.c - see log_scan.h.
 *
 * Where a record is bad, the next whole one is looked for at every eighth byte behind it. A payload
 * may contain bytes that look like a record, so a find must have a position that could follow, a
 * right checksum, and must not lie inside a record that is whole: the walk goes from whole record
 * to whole record, and looks around only between them.
 */
#include "engine/log_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/log_trim.h"
#include "engine/log_walk.h"
#include "engine/memory.h"

#define NAME_BYTES  sizeof "log-01234567890123456789.omen"
#define BLOCK_BYTES (1u << 20)

struct scanning {
    const struct omen_log_scan *scan;
    struct omen_log_scanned *out;
    omen_error *err;
    uint64_t *firsts; /* of the files, ascending */
    size_t count, room;
    bool no_memory;
    uint64_t expected; /* position of the next record */
    unsigned char *block;
};

static omen_code list_files(struct scanning *s);
static omen_code scan_file(struct scanning *s, size_t i);
static omen_code scan_records(struct scanning *s, struct omen_log_walk *walk, bool last);
static omen_code pass_flaw(struct scanning *s, struct omen_log_walk *walk, bool last, bool *end);
static omen_code find_next(struct scanning *s, struct omen_log_walk *walk, bool *found);
OMEN_PRINTF(2, 3) static void damage(struct scanning *s, const char *format, ...);

omen_code omen_log_scan(const struct omen_log_scan *scan, struct omen_log_scanned *out,
                        omen_error *err)
{
    struct scanning s = {.scan = scan, .out = out, .err = err};
    omen_error why;
    omen_code code = OMEN_OK;

    *out = (struct omen_log_scanned){.first_position = 1};
    s.block = omen_alloc(BLOCK_BYTES);
    if (s.block == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to read a log");
    code = list_files(&s);
    if (code == OMEN_OK) {
        code = omen_log_trim_load(scan->storage, scan->dir, &out->first_position, &why);
        if (code == OMEN_DATA_LOSS) {
            damage(&s, "%s", why.message);
            out->first_position = s.count > 0 ? s.firsts[0] : 1;
            code = OMEN_OK;
        } else if (code != OMEN_OK) {
            code = omen_fail(err, code, "%s: %s", scan->title, why.message);
        }
    }
    s.expected = out->first_position;
    for (size_t i = 0; i < s.count && code == OMEN_OK; i++)
        if (s.firsts[i] >= out->first_position) code = scan_file(&s, i); /* else a trim's remains */
    if (code == OMEN_OK && out->files == 0)
        damage(&s, "there is no file of the log, which begins at record %" PRIu64,
               out->first_position);
    out->last_position = s.expected - 1;
    omen_free(s.firsts);
    omen_free(s.block);
    return code;
}

/* ---- the files ---------------------------------------------------------------------------- */

static void name_file(uint64_t first, char name[NAME_BYTES])
{
    (void)snprintf(name, NAME_BYTES, "log-%020" PRIu64 ".omen", first);
}

static bool note_name(void *user, const char *found)
{
    struct scanning *s = user;
    char name[NAME_BYTES];

    if (strncmp(found, "log-", 4) != 0) return true;
    const uint64_t first = strtoull(found + 4, NULL, 10);
    name_file(first, name);
    if (strcmp(name, found) != 0) return true;
    if (s->count == s->room) {
        const size_t room = s->room * 2 + 8;
        uint64_t *more = omen_realloc(s->firsts, room * sizeof *more);

        s->no_memory = more == NULL;
        if (more == NULL) return false;
        s->firsts = more;
        s->room = room;
    }
    s->firsts[s->count++] = first;
    return true;
}

static int by_position(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static omen_code list_files(struct scanning *s)
{
    if (s->scan->storage->ops->list(s->scan->storage, s->scan->dir, note_name, s) != 0)
        return omen_fail(s->err, OMEN_UNAVAILABLE, "list %s: %m", s->scan->title);
    if (s->no_memory)
        return omen_fail(s->err, OMEN_RESOURCE_EXHAUSTED, "the names of %zu log files", s->count);
    if (s->count > 1) qsort(s->firsts, s->count, sizeof *s->firsts, by_position);
    return OMEN_OK;
}

static omen_code scan_file(struct scanning *s, size_t i)
{
    struct omen_storage *storage = s->scan->storage;
    const bool last = i + 1 == s->count;
    struct omen_log_walk walk = {0};
    char name[NAME_BYTES];
    omen_error why;
    omen_code code = OMEN_OK;

    name_file(s->firsts[i], name);
    if (s->firsts[i] != s->expected)
        damage(s, "records %" PRIu64 " to %" PRIu64 " are in no file; %s comes next", s->expected,
               s->firsts[i] - 1, name);
    s->expected = s->firsts[i];
    const int file = storage->ops->open(storage, s->scan->dir, name, O_RDONLY);
    const int64_t size = file < 0 ? -1 : storage->ops->size(storage, file);
    if (size < 0) {
        code = omen_storage_fail(s->err, "open %s/%s", s->scan->title, name);
        goto done;
    }
    s->out->files++;
    s->out->bytes += (uint64_t)size;
    const struct omen_log_source source = {storage, file, name, s->firsts[i], (uint64_t)size};
    code = omen_log_walk_init(&walk, &source, &why);
    if (code == OMEN_DATA_LOSS || (code == OMEN_OK && walk.flaw != NULL)) {
        damage(s, "%s at offset 0: the file's own record is bad", name);
        walk.flaw = NULL; /* every record says itself where it belongs */
        walk.offset =
            size < (int64_t)OMEN_RECORD_HEADER_BYTES ? (uint64_t)size : OMEN_RECORD_HEADER_BYTES;
        code = OMEN_OK;
    } else if (code != OMEN_OK) {
        code = omen_fail(s->err, code, "%s: %s", s->scan->title, why.message);
    }
    if (code == OMEN_OK) code = scan_records(s, &walk, last);

done:
    omen_log_walk_deinit(&walk);
    if (file >= 0) storage->ops->close(storage, file);
    return code;
}

/* ---- the records of one file -------------------------------------------------------------- */

static omen_code scan_records(struct scanning *s, struct omen_log_walk *walk, bool last)
{
    struct omen_record_header header;
    const unsigned char *payload = NULL;
    omen_error why;
    bool end = false;

    while (!end) {
        omen_code code = omen_log_walk_next(walk, &header, &payload, &why);

        if (code == OMEN_DATA_LOSS) { /* whole, but none that there is */
            walk->flaw = "the record is of no known type";
        } else if (code != OMEN_OK) {
            return omen_fail(s->err, code, "%s: %s", s->scan->title, why.message);
        }
        if (payload != NULL) {
            s->out->records++;
            s->expected = header.position + 1;
            if (s->scan->record == NULL) continue;
            code = s->scan->record(s->scan->user, &header, payload, s->err);
            if (code != OMEN_OK) return code;
        } else if (walk->flaw != NULL) {
            code = pass_flaw(s, walk, last, &end);
            if (code != OMEN_OK) return code;
        } else {
            end = true;
        }
    }
    return OMEN_OK;
}

/* What stands at walk->offset is no record: an unfinished write, or damage. */
static omen_code pass_flaw(struct scanning *s, struct omen_log_walk *walk, bool last, bool *end)
{
    const uint64_t offset = walk->offset;
    const uint64_t position = walk->position;
    const char *flaw = walk->flaw;
    bool synced = true;
    bool found = false;
    omen_code code = OMEN_OK;

    if (last) code = omen_log_walk_was_synced(walk, &synced, s->err);
    if (code != OMEN_OK) return code;
    if (!synced) {
        s->out->torn_bytes = walk->source.end - offset;
        *end = true;
        return OMEN_OK;
    }
    code = find_next(s, walk, &found);
    if (code != OMEN_OK) return code;
    *end = !found;
    if (!found)
        damage(s,
               "%s at offset %" PRIu64 ": %s; from record %" PRIu64 " on nothing in this file is "
               "whole (%" PRIu64 " bytes)",
               walk->source.name, offset, flaw, position, walk->source.end - offset);
    else if (walk->position == position)
        damage(s, "%s at offset %" PRIu64 ": %s; %" PRIu64 " bytes belong to no record",
               walk->source.name, offset, flaw, walk->offset - offset);
    else if (walk->position == position + 1)
        damage(s, "%s at offset %" PRIu64 ": %s; record %" PRIu64 " is lost", walk->source.name,
               offset, flaw, position);
    else
        damage(s, "%s at offset %" PRIu64 ": %s; records %" PRIu64 " to %" PRIu64 " are lost",
               walk->source.name, offset, flaw, position, walk->position - 1);
    return OMEN_OK;
}

/* Could a whole record at `at` be the next one? Then the walk is put there. */
static omen_code try_record(struct scanning *s, struct omen_log_walk *walk,
                            const unsigned char *bytes, uint64_t at, bool *found)
{
    const uint64_t position = walk->position;
    const uint64_t offset = walk->offset;
    struct omen_record_header header;
    struct omen_record_header shown;
    const unsigned char *payload = NULL;
    omen_error why;

    if (!omen_record_decode(bytes, &header) || header.type == OMEN_RECORD_FILE ||
        header.position < position ||
        header.position - position > walk->source.end / OMEN_RECORD_HEADER_BYTES)
        return OMEN_OK;
    walk->offset = at;
    walk->position = header.position;
    walk->flaw = NULL;
    omen_code code = omen_log_walk_next(walk, &shown, &payload, &why);
    if (code == OMEN_UNAVAILABLE) return omen_fail(s->err, code, "%s", why.message);
    *found = code == OMEN_OK && payload != NULL;
    walk->offset = *found ? at : offset; /* to be shown by the walk itself */
    walk->position = *found ? header.position : position;
    walk->flaw = NULL;
    return OMEN_OK;
}

static omen_code find_next(struct scanning *s, struct omen_log_walk *walk, bool *found)
{
    const struct omen_log_source *source = &walk->source;
    uint64_t at = walk->offset + 8;

    *found = false;
    while (at + OMEN_RECORD_HEADER_BYTES <= source->end) {
        const uint64_t left = source->end - at;
        const size_t wanted = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
        const ssize_t got =
            source->storage->ops->read(source->storage, source->file, s->block, wanted, at);

        if (got < 0 && errno == EINTR) continue;
        if (got < (ssize_t)OMEN_RECORD_HEADER_BYTES)
            return omen_fail(s->err, OMEN_UNAVAILABLE, "read %s at offset %" PRIu64 ": %m",
                             source->name, at);
        size_t i = 0;
        for (; i + OMEN_RECORD_HEADER_BYTES <= (size_t)got; i += 8) {
            const omen_code code = try_record(s, walk, s->block + i, at + i, found);

            if (code != OMEN_OK || *found) return code;
        }
        at += i;
    }
    return OMEN_OK;
}

static void damage(struct scanning *s, const char *format, ...)
{
    char sentence[OMEN_ERROR_MAX];
    const int length = snprintf(sentence, sizeof sentence, "%s: ", s->scan->title);
    va_list args;

    s->out->damages++;
    if (s->scan->damage == NULL) return;
    va_start(args, format);
    if (length > 0 && (size_t)length < sizeof sentence)
        (void)vsnprintf(sentence + length, sizeof sentence - (size_t)length, format, args);
    va_end(args);
    s->scan->damage(s->scan->user, sentence);
}
