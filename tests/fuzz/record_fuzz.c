/* record_fuzz.c - bytes as a collection's log file, in a storage in memory that is new for each
 * input, and now and then in the file system.
 *
 * First as they are: the log opens or is refused with a sentence, and what opens holds the same
 * records when it is opened again, before and after further records, and after power was lost at
 * some moment in between: then at least what was synced. A checksum stops nearly all of such
 * inputs, so then with every checksum (and, for half of the inputs, positions and versions too) put
 * right: an engine replays them. It refuses with a sentence, or serves a collection that is valid
 * and has the same graph after the next start. The first bytes are read as the note of a trimmed
 * log, too.
 */
#include "engine/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/log_file.h"
#include "engine/log_trim.h"
#include "engine/settings.h"
#include "engine/storage_memory.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/place.h"

#define INCARNATION "00112233445566778899aabbccddeeff"
#define PATH_BYTES  512u
#define LOG_FIRST   "log-00000000000000000001.omen"
#define STARTS_MAX  6 /* of an engine over one log */

static char data_dir[PLACE_DIR_BYTES];
static char log_dir[PATH_BYTES]; /* of the one collection */

static void remove_data(void)
{
    place_remove_dir(data_dir);
}

static void make_data_dir(void)
{
    if (data_dir[0] != '\0') return;
    place_make_dir(data_dir);
    (void)atexit(remove_data);
    (void)snprintf(log_dir, sizeof log_dir, "%s/%s", data_dir, INCARNATION);
    FUZZ_CHECK(mkdir(log_dir, 0700) == 0, "mkdir %s: %m", log_dir);
}

static bool remove_name(void *user, const char *name)
{
    struct omen_storage *files = omen_storage_files();

    if (strncmp(name, "log", 3) == 0)
        FUZZ_CHECK(files->ops->remove(files, *(int *)user, name) == 0, "remove %s: %m", name);
    return true;
}

/* The file system, for the logs that stand alone: nothing of other inputs is left in it. */
static struct omen_storage *clear_files(void)
{
    struct omen_storage *files = omen_storage_files();
    int dir = files->ops->open_dir(files, log_dir);

    FUZZ_CHECK(dir >= 0 && files->ops->list(files, dir, remove_name, &dir) == 0, "list: %m");
    files->ops->close(files, dir);
    return files;
}

static void destroy_storage(struct omen_storage *storage)
{
    if (storage != omen_storage_files()) omen_storage_memory_destroy(storage);
}

/* A storage in memory (or the one given) with the one file in it, synced. */
static struct omen_storage *make_storage(struct omen_storage *storage, const char *name,
                                         const uint8_t *data, size_t size)
{
    struct iovec part = {(void *)(uintptr_t)data, size};
    uint64_t offset = 0;
    omen_error err = {0};

    if (storage == NULL) {
        FUZZ_CHECK(omen_storage_memory_create(fuzz_hash(data, size), &storage, &err) == OMEN_OK,
                   "%s", err.message);
        int above = storage->ops->open_dir(storage, data_dir);
        FUZZ_CHECK(storage->ops->make_dir(storage, above, strrchr(log_dir, '/') + 1) == 0 &&
                       storage->ops->sync(storage, above, true) == 0,
                   "no directory in memory");
        storage->ops->close(storage, above);
    }
    int dir = storage->ops->open_dir(storage, log_dir);
    int file = storage->ops->open(storage, dir, name, O_RDWR | O_CREAT | O_TRUNC);
    FUZZ_CHECK(dir >= 0 && file >= 0, "no file in memory");
    FUZZ_CHECK(omen_storage_write_all(storage, file, &part, 1, &offset, &err) == OMEN_OK, "%s",
               err.message);
    FUZZ_CHECK(storage->ops->sync(storage, file, true) == 0 &&
                   storage->ops->sync(storage, dir, true) == 0,
               "no sync in memory");
    storage->ops->close(storage, file);
    storage->ops->close(storage, dir);
    return storage;
}

/* ---- the log alone ------------------------------------------------------------------------ */

struct digest {
    uint64_t hash;
    uint64_t last; /* position that it is of; 0: none yet */
    uint64_t until;
};

static omen_code add_to_digest(void *user, const struct omen_record *record, omen_error *err)
{
    struct digest *digest = user;
    uint64_t head[4] = {digest->hash, record->position, (uint64_t)record->type, record->length};

    (void)err;
    FUZZ_CHECK(digest->last == 0 || record->position == digest->last + 1,
               "record %llu follows record %llu", (unsigned long long)record->position,
               (unsigned long long)digest->last);
    FUZZ_CHECK((uintptr_t)record->payload % 64 == 0, "a payload that is not aligned");
    digest->last = record->position;
    if (record->position > digest->until) return OMEN_OK;
    digest->hash =
        fuzz_hash((const uint8_t *)head, sizeof head) ^ fuzz_hash(record->payload, record->length);
    return OMEN_OK;
}

/* NULL if it was refused. The digest is of records up to `until`. A storage with faults may fail
 * the reading alone. */
static omen_log *open_log(struct omen_storage *storage, struct omen_log_report *report,
                          struct digest *digest, uint64_t until)
{
    omen_log *log = NULL;
    omen_error err = {0};
    omen_code code = omen_log_file_open(storage, log_dir, &log, report, &err);

    *digest = (struct digest){.until = until};
    if (code != OMEN_OK) {
        fuzz_check_error(&err, code);
        FUZZ_CHECK(log == NULL, "a log in spite of: %s", err.message);
        return NULL;
    }
    code = omen_log_read(log, report->first_position, add_to_digest, digest, &err);
    if (storage != omen_storage_files() && omen_storage_memory_is_dead(storage)) return log;
    FUZZ_CHECK(code == OMEN_OK, "opened, but cannot be read: %s", err.message);
    FUZZ_CHECK(digest->last == report->last_position || digest->last == 0,
               "read up to %llu of %llu", (unsigned long long)digest->last,
               (unsigned long long)report->last_position);
    return log;
}

static omen_code append_one(omen_log *log, uint64_t *position)
{
    uint8_t payload[700]; /* more than a sector of the storage */
    struct iovec part = {payload, sizeof payload};
    omen_error err = {0};

    memset(payload, 0x5a, sizeof payload);
    omen_code code = omen_log_append(log, OMEN_RECORD_OPEN, 1, &part, 1, position, &err);
    if (code != OMEN_OK) fuzz_check_error(&err, code);
    return code;
}

static omen_code sync_all(omen_log *log)
{
    omen_error err = {0};
    omen_code code = omen_log_sync(log, &err);

    if (code != OMEN_OK) fuzz_check_error(&err, code);
    return code;
}

/* Opened, opened again, and with one more record. False: it was refused. */
static bool try_log(const uint8_t *data, size_t size, struct digest *good)
{
    bool real = fuzz_hash(data, size) % 8 == 0; /* its syncs are slow */
    struct omen_storage *storage = make_storage(real ? clear_files() : NULL, LOG_FIRST, data, size);
    struct omen_log_report report;
    struct omen_log_report again;
    struct digest second;
    uint64_t position = 0;
    omen_log *log = open_log(storage, &report, good, UINT64_MAX);
    bool opened = log != NULL;

    omen_log_close(log);
    if (opened) {
        log = open_log(storage, &again, &second, UINT64_MAX);
        FUZZ_CHECK(log != NULL, "opened once, refused the second time");
        FUZZ_CHECK(again.torn_bytes == 0, "torn again by %llu bytes",
                   (unsigned long long)again.torn_bytes);
        FUZZ_CHECK(good->hash == second.hash, "other records the second time");
        FUZZ_CHECK(append_one(log, &position) == OMEN_OK && sync_all(log) == OMEN_OK,
                   "opened, but takes no record");
        FUZZ_CHECK(position == report.last_position + 1, "position %llu",
                   (unsigned long long)position);
        omen_log_close(log);
        log = open_log(storage, &again, &second, report.last_position);
        FUZZ_CHECK(log != NULL && again.last_position == position && good->hash == second.hash,
                   "lost a record that was synced");
        omen_log_close(log);
    }
    destroy_storage(storage);
    return opened;
}

/* A log that opens does so again after power was lost at any moment, with all that was synced. */
static void try_power_cut(const uint8_t *data, size_t size, const struct digest *good)
{
    struct omen_storage *storage = make_storage(NULL, LOG_FIRST, data, size);
    struct omen_storage_faults faults = {.cut_at = 1 + fuzz_hash(data, size) % 16};
    struct omen_log_report report;
    struct digest digest;
    uint64_t synced = good->last;
    uint64_t position = 0;
    omen_error err = {0};

    omen_storage_memory_set_faults(storage, &faults);
    omen_log *log = open_log(storage, &report, &digest, good->last);
    for (int i = 0; log != NULL && i < 6; i++) {
        if (append_one(log, &position) != OMEN_OK) break;
        if (i % 3 != 2) continue;
        if (sync_all(log) != OMEN_OK) break;
        synced = position;
    }
    omen_log_close(log);
    FUZZ_CHECK(omen_storage_memory_restart(storage, &err) == OMEN_OK, "%s", err.message);
    log = open_log(storage, &report, &digest, good->last);
    FUZZ_CHECK(log != NULL, "refused after power was lost");
    FUZZ_CHECK(report.last_position >= synced, "%llu records were synced, %llu are there",
               (unsigned long long)synced, (unsigned long long)report.last_position);
    FUZZ_CHECK(digest.hash == good->hash, "other records after power was lost");
    omen_log_close(log);
    omen_storage_memory_destroy(storage);
}

/* What loads is stored and loads again, one further on; a log that begins there says so, too. */
static void try_note(const uint8_t *data, size_t size)
{
    bool real = fuzz_hash(data, size) % 8 == 1;
    struct omen_storage *storage =
        make_storage(real ? clear_files() : NULL, "log.trimmed", data, size);
    uint64_t first = 0;
    uint64_t again = 0;
    omen_error err = {0};
    int dir = storage->ops->open_dir(storage, log_dir);
    omen_code code = omen_log_trim_load(storage, dir, &first, &err);

    if (code != OMEN_OK) {
        fuzz_check_error(&err, code);
        first = 1;
    }
    FUZZ_CHECK(first > 0, "a log that begins at 0");
    if (first < UINT64_MAX) first++;
    FUZZ_CHECK(omen_log_trim_store(storage, dir, first, &err) == OMEN_OK &&
                   omen_log_trim_load(storage, dir, &again, &err) == OMEN_OK && again == first,
               "stored %llu, loaded %llu: %s", (unsigned long long)first, (unsigned long long)again,
               err.message);
    again = 0;
    FUZZ_CHECK(omen_log_trim_begin(storage, dir, first, &err) == OMEN_OK &&
                   omen_log_trim_load(storage, dir, &again, &err) == OMEN_OK && again == first,
               "began at %llu, loaded %llu: %s", (unsigned long long)first,
               (unsigned long long)again, err.message);
    storage->ops->close(storage, dir);
    destroy_storage(storage);
}

/* ---- an engine over it -------------------------------------------------------------------- */

/* What keeps a record with this header from being the n-th of the log. */
static void mend_header(struct omen_record_header *header, uint64_t n, uint16_t *algorithm)
{
    bool mark = header->type == OMEN_RECORD_FILE && n > 1;

    if (n == 1) *algorithm = header->algorithm_version == 1 ? 1 : OMEN_ALGORITHM_VERSION;
    header->position = n == 0 ? 1 : n - mark;
    header->format_version = OMEN_LOG_FORMAT_VERSION;
    header->algorithm_version = *algorithm;
    if (header->unsynced >= header->position) header->unsynced = 0;
    if (n > 1 && header->type == OMEN_RECORD_SETTINGS) *algorithm = OMEN_ALGORITHM_VERSION;
}

/* Puts the checksum of each record right, and its padding; with `all`, whatever else keeps it from
 * being the next record. Stops where a length leads out of the file. */
static void mend_records(uint8_t *data, size_t size, bool all)
{
    uint16_t algorithm = OMEN_ALGORITHM_VERSION;
    size_t at = 0;

    for (uint64_t n = 0; size - at >= OMEN_RECORD_HEADER_BYTES; n++) {
        struct omen_record_header header;

        if (!omen_record_decode(data + at, &header) && all) memset(data + at + 20, 0, 4);
        if (!omen_record_decode(data + at, &header)) return;
        size_t stored = omen_record_stored_bytes(header.length);
        if (size - at < stored) return;
        if (all) mend_header(&header, n, &algorithm);
        uint8_t *payload = data + at + OMEN_RECORD_HEADER_BYTES;
        struct iovec part = {payload, header.length};

        memset(payload + header.length, 0, stored - OMEN_RECORD_HEADER_BYTES - header.length);
        omen_record_encode(&header, &part, 1, data + at);
        at += stored;
    }
}

struct served {
    uint64_t hash, points, position;
    uint32_t target;
    struct omen_calibration calibration;
};

/* What stands at one position; the clock may go on meanwhile, as points expire. */
static void look(omen_collection *collection, struct served *out)
{
    struct omen_collection_info info;

    do {
        omen_collection_get_info(collection, &info);
        out->position = info.searchable_position;
        out->points = info.points;
        out->target = info.settings.target_recall;
        out->calibration = info.calibration;
        out->hash = omen_collection_graph_hash(collection);
        omen_collection_get_info(collection, &info);
    } while (info.searchable_position != out->position || info.points != out->points);
}

/* False if the log was refused. */
static bool replay(struct omen_storage *storage, struct served *out)
{
    struct omen_engine_options options = {.data_dir = data_dir,
                                          .ingest_threads = 1,
                                          .shards = 2,
                                          .search_threads = 1,
                                          .storage = storage};
    struct omen_collection_info *list = NULL;
    omen_collection *collection = NULL;
    omen_engine *engine = NULL;
    omen_error err = {0};
    size_t count = 0;
    omen_code code = omen_engine_open(&options, &engine, &err);

    if (code != OMEN_OK) {
        fuzz_check_error(&err, code);
        FUZZ_CHECK(engine == NULL, "an engine in spite of: %s", err.message);
        return false;
    }
    code = omen_collection_list(engine, &list, &count, &err);
    FUZZ_CHECK(code == OMEN_OK && count == 1, "%zu collections %s", count, err.message);
    code = omen_collection_acquire(engine, list[0].name, &collection, &err);
    FUZZ_CHECK(code == OMEN_OK, "%s", err.message);
    place_validate(collection);
    look(collection, out);
    omen_collection_release(collection);
    omen_collection_list_free(list);
    omen_engine_close(engine);
    return true;
}

/* Two starts at the same position must serve the same. Each may find more of the points expired. */
static void try_engine(const uint8_t *data, size_t size)
{
    uint8_t *mended = malloc(size == 0 ? 1 : size);
    struct served served[2];

    FUZZ_CHECK(mended != NULL, "no memory for %zu bytes", size);
    memcpy(mended, data, size);
    mend_records(mended, size, (fuzz_hash(data, size) & 1) != 0);
    struct omen_storage *storage = make_storage(NULL, LOG_FIRST, mended, size);
    bool opened = replay(storage, &served[0]);
    for (int i = 0; opened && i < STARTS_MAX; i++) {
        FUZZ_CHECK(replay(storage, &served[1]), "refused at the second start");
        if (served[0].position == served[1].position) {
            FUZZ_CHECK(served[0].hash == served[1].hash && served[0].points == served[1].points,
                       "another collection at the second start");
            FUZZ_CHECK(served[0].target == served[1].target &&
                           memcmp(&served[0].calibration, &served[1].calibration,
                                  sizeof served[0].calibration) == 0,
                       "another calibration at the second start");
            break;
        }
        served[0] = served[1];
    }
    omen_storage_memory_destroy(storage);
    free(mended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest good;

    make_data_dir();
    if (try_log(data, size, &good)) try_power_cut(data, size, &good);
    try_note(data, size);
    try_engine(data, size);
    return 0;
}
