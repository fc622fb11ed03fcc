/* log_test.c - what the log promises: every record back, whole and in order, or a clear refusal.
 *
 * Each test works in a directory of its own under TMPDIR. Records have payloads that follow from
 * their position, so a record is checked without keeping a copy of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/log_file.h"
#include "engine/record.h"

#define ALGORITHM 7u
#define FILE_MAX  65536u                   /* of the files that tests change byte by byte */
#define MARK      OMEN_RECORD_HEADER_BYTES /* stands behind what was synced */

struct place {
    char dir[256];
};

/* ---- a directory for each test ------------------------------------------------------------- */

static void remove_all(const char *path)
{
    DIR *dir = opendir(path);
    char child[768];

    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        (void)snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        assert_int_equal(unlink(child), 0);
    }
    (void)closedir(dir);
    assert_int_equal(rmdir(path), 0);
}

static int make_place(void **state)
{
    static struct place place;
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(place.dir, sizeof place.dir, "%s/omen-log-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(place.dir) == NULL) return -1;
    *state = &place;
    return 0;
}

static int remove_place(void **state)
{
    const struct place *place = *state;

    remove_all(place->dir);
    return 0;
}

/* ---- records that know what they hold ------------------------------------------------------ */

static uint32_t length_at(uint64_t position)
{
    return (uint32_t)(position * 37 % 90);
}

static void fill_payload(uint64_t position, uint32_t length, unsigned char *payload)
{
    uint64_t state = position;

    for (uint32_t i = 0; i < length; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        payload[i] = (unsigned char)(state >> 56);
    }
}

static omen_log *open_sized(const struct place *place, uint64_t file_bytes,
                            struct omen_log_report *report)
{
    omen_log *log = NULL;
    omen_error err = {0};
    const omen_code code =
        omen_log_file_open_sized(NULL, place->dir, file_bytes, &log, report, &err);

    if (code != OMEN_OK) fail_msg("open: %s", err.message);
    return log;
}

static omen_log *open_log(const struct place *place)
{
    struct omen_log_report report;

    return open_sized(place, OMEN_LOG_FILE_BYTES, &report);
}

/* Opens a log that must be refused; the sentence must contain `words`. */
static void expect_refused(const struct place *place, omen_code expected, const char *words)
{
    omen_error err = {0};
    struct omen_log_report report;
    omen_log *log = NULL;
    const omen_code code = omen_log_file_open(NULL, place->dir, &log, &report, &err);

    if (code != expected) fail_msg("expected code %d, got %d: %s", expected, code, err.message);
    assert_null(log);
    if (strstr(err.message, words) == NULL) fail_msg("no \"%s\" in: %s", words, err.message);
}

static omen_code try_append(omen_log *log, uint64_t position, uint32_t length, omen_error *err)
{
    static unsigned char payload[OMEN_RECORD_BYTES_MAX + 1];
    const struct iovec part = {payload, length};
    uint64_t given = 0;

    fill_payload(position, length, payload);
    const omen_code code =
        omen_log_append(log, OMEN_RECORD_CHUNK, ALGORITHM, &part, 1, &given, err);
    if (code == OMEN_OK) assert_int_equal(given, position);
    return code;
}

static void append_range(omen_log *log, uint64_t first, uint64_t last)
{
    omen_error err = {0};

    for (uint64_t position = first; position <= last; position++)
        if (try_append(log, position, length_at(position), &err) != OMEN_OK)
            fail_msg("append %" PRIu64 ": %s", position, err.message);
    if (omen_log_sync(log, &err) != OMEN_OK) fail_msg("sync: %s", err.message);
}

static omen_code expect_record(void *user, const struct omen_record *record, omen_error *err)
{
    unsigned char payload[128];
    uint64_t *next = user;

    (void)err;
    assert_int_equal(record->position, *next);
    assert_int_equal(record->type, OMEN_RECORD_CHUNK);
    assert_int_equal(record->algorithm_version, ALGORITHM);
    assert_int_equal(record->length, length_at(record->position));
    assert_int_equal((uintptr_t)record->payload % 64, 0);
    fill_payload(record->position, record->length, payload);
    assert_memory_equal(record->payload, payload, record->length);
    ++*next;
    return OMEN_OK;
}

static void expect_range(omen_log *log, uint64_t from, uint64_t last)
{
    omen_error err = {0};
    uint64_t next = from;

    if (omen_log_read(log, from, expect_record, &next, &err) != OMEN_OK)
        fail_msg("read: %s", err.message);
    assert_int_equal(next, last + 1);
}

/* ---- a log's files as bytes ---------------------------------------------------------------- */

struct bytes {
    size_t count;
    unsigned char at[FILE_MAX];
};

static void file_path(const struct place *place, uint64_t first, char path[320])
{
    (void)snprintf(path, 320, "%s/log-%020" PRIu64 ".omen", place->dir, first);
}

static void load_file(const struct place *place, uint64_t first, struct bytes *out)
{
    char path[320];

    file_path(place, first, path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    out->count = fread(out->at, 1, sizeof out->at, file);
    assert_true(out->count < sizeof out->at);
    (void)fclose(file);
}

static void store_file(const struct place *place, uint64_t first, const struct bytes *bytes)
{
    char path[320];

    file_path(place, first, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes->at, 1, bytes->count, file), bytes->count);
    assert_int_equal(fclose(file), 0);
}

/* Adds a whole record with a good checksum, which no append would write. */
static void add_record(struct bytes *bytes, const struct omen_record_header *header)
{
    unsigned char payload[128];
    const struct iovec part = {payload, header->length};

    fill_payload(header->position, header->length, payload);
    memset(bytes->at + bytes->count, 0, omen_record_stored_bytes(header->length));
    omen_record_encode(header, &part, 1, bytes->at + bytes->count);
    memcpy(bytes->at + bytes->count + OMEN_RECORD_HEADER_BYTES, payload, header->length);
    bytes->count += omen_record_stored_bytes(header->length);
}

static size_t offset_of(uint64_t position)
{
    size_t offset = OMEN_RECORD_HEADER_BYTES;

    for (uint64_t i = 1; i < position; i++)
        offset += omen_record_stored_bytes(length_at(i));
    return offset;
}

static void make_log(const struct place *place, uint64_t last)
{
    omen_log *log = open_log(place);

    append_range(log, 1, last);
    omen_log_close(log);
}

/* ---- records ------------------------------------------------------------------------------- */

/* The checksum is CRC32C: RFC 3720's test vector, in one piece and in two. */
static void checksum_is_the_one_of_rfc_3720(void **state)
{
    (void)state;
    assert_int_equal(omen_record_checksum(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(omen_record_checksum(omen_record_checksum(0, "1234", 4), "56789", 5),
                     0xE3069283u);
    assert_int_equal(omen_record_checksum(0, "", 0), 0);
}

/* The layout of log.h, byte for byte: a log that was written stays readable. */
static void header_has_the_documented_layout(void **state)
{
    static const unsigned char expected[OMEN_RECORD_HEADER_BYTES] = {
        3, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 2, 2, 0x0b, 0x0a, 4, 3, 2, 1};
    const struct omen_record_header header = {.length = 3,
                                              .position = 0x0102030405060708u,
                                              .type = OMEN_RECORD_CHUNK,
                                              .format_version = 2,
                                              .unsynced = 0x01020304u,
                                              .algorithm_version = 0x0a0b};
    char text[] = "abc";
    const struct iovec part = {text, 3};
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES];

    (void)state;
    omen_record_encode(&header, &part, 1, bytes);
    assert_memory_equal(bytes, expected, 4);
    assert_memory_equal(bytes + 8, expected + 8, 16);
    uint32_t checksum = omen_record_checksum(0, expected + 8, 16);
    checksum = omen_record_checksum(checksum, "abc", 3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(bytes[4 + i], checksum >> (8 * i) & 0xff);
}

/* ---- append, sync, read -------------------------------------------------------------------- */

static void appended_records_come_back_in_order(void **state)
{
    const struct place *place = *state;
    struct omen_log_report report;
    omen_log *log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);

    assert_int_equal(report.first_position, 1);
    assert_int_equal(report.last_position, 0);
    assert_int_equal(omen_log_bytes(log), OMEN_RECORD_HEADER_BYTES);
    expect_range(log, 1, 0);
    append_range(log, 1, 50);
    expect_range(log, 1, 50);
    assert_int_equal(omen_log_last_position(log), 50);
    assert_int_equal(omen_log_bytes(log), offset_of(51));
    omen_log_close(log);

    log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
    assert_int_equal(report.last_position, 50);
    assert_int_equal(report.torn_bytes, 0);
    assert_int_equal(omen_log_bytes(log), offset_of(51));
    expect_range(log, 1, 50);
    expect_range(log, 33, 50);
    expect_range(log, 51, 50);
    append_range(log, 51, 60);
    expect_range(log, 1, 60);
    omen_log_close(log);
}

static omen_code expect_alphabet(void *user, const struct omen_record *record, omen_error *err)
{
    uint32_t *seen = user;

    (void)err;
    *seen = record->length;
    for (uint32_t i = 0; i < record->length; i++)
        assert_int_equal(((const unsigned char *)record->payload)[i], 'a' + i % 26);
    return OMEN_OK;
}

/* A record from any number of parts, empty ones among them, is one payload. */
static void parts_are_gathered_into_one_payload(void **state)
{
    static const int counts[] = {0, 1, 2, 61, 62, 63, 64, 65, 200};
    const struct place *place = *state;
    unsigned char text[1000];
    struct iovec parts[200];
    omen_log *log = open_log(place);

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)('a' + i % 26);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t used = 0;
        uint64_t position = 0;
        uint32_t seen = 1;
        omen_error err = {0};
        for (int i = 0; i < counts[c]; i++) {
            parts[i] = (struct iovec){text + used, (size_t)i % 5};
            used += parts[i].iov_len;
        }
        assert_int_equal(
            omen_log_append(log, OMEN_RECORD_OPEN, 1, parts, counts[c], &position, &err), OMEN_OK);
        assert_int_equal(position, c + 1);
        assert_int_equal(omen_log_read(log, position, expect_alphabet, &seen, &err), OMEN_OK);
        assert_int_equal(seen, used);
    }
    omen_log_close(log);
}

static omen_code expect_length(void *user, const struct omen_record *record, omen_error *err)
{
    (void)err;
    assert_int_equal(record->length, *(const uint32_t *)user);
    return OMEN_OK;
}

/* The largest record goes in; one byte more is the caller's mistake, and the log lives on. */
static void record_over_the_limit_is_refused_and_the_log_goes_on(void **state)
{
    const struct place *place = *state;
    uint32_t length = OMEN_RECORD_PAYLOAD_MAX;
    omen_error err = {0};
    omen_log *log = open_log(place);

    assert_int_equal(try_append(log, 1, length + 1, &err), OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.reason, "TOO_LARGE");
    assert_int_equal(try_append(log, 1, length, &err), OMEN_OK);
    assert_int_equal(omen_log_sync(log, &err), OMEN_OK);
    omen_log_close(log);
    log = open_log(place);
    assert_int_equal(omen_log_read(log, 1, expect_length, &length, &err), OMEN_OK);
    omen_log_close(log);
}

static omen_code stop_at_three(void *user, const struct omen_record *record, omen_error *err)
{
    *(uint64_t *)user = record->position;
    if (record->position == 3) return omen_fail(err, OMEN_ABORTED, "that was three");
    return OMEN_OK;
}

static void visitor_can_end_the_reading(void **state)
{
    const struct place *place = *state;
    uint64_t seen = 0;
    omen_error err = {0};

    make_log(place, 9);
    omen_log *log = open_log(place);
    assert_int_equal(omen_log_read(log, 1, stop_at_three, &seen, &err), OMEN_ABORTED);
    assert_string_equal(err.message, "that was three");
    assert_int_equal(seen, 3);
    omen_log_close(log);
}

/* ---- torn tails and damage ----------------------------------------------------------------- */

/* Cut a log of three records anywhere, the mark behind them, too: the whole records before the cut
 * are there, and the log can be appended to. */
static void every_truncation_leaves_the_longest_whole_prefix(void **state)
{
    static struct bytes whole;
    static struct bytes cut;
    const struct place *place = *state;
    struct omen_log_report report;

    make_log(place, 3);
    load_file(place, 1, &whole);
    assert_int_equal(whole.count, offset_of(4) + MARK);
    for (size_t length = 0; length <= whole.count; length++) {
        uint64_t kept = 0;
        while (kept < 3 && offset_of(kept + 2) <= length)
            kept++;
        size_t good = length < OMEN_RECORD_HEADER_BYTES ? 0 : offset_of(kept + 1);
        if (length == whole.count) good = length;
        cut = whole;
        cut.count = length;
        store_file(place, 1, &cut);

        omen_log *log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
        assert_int_equal(report.last_position, kept);
        assert_int_equal(report.torn_bytes, length - good);
        if (length != good) assert_string_equal(report.torn_file, "log-00000000000000000001.omen");
        append_range(log, kept + 1, kept + 2);
        omen_log_close(log);

        log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
        assert_int_equal(report.torn_bytes, 0);
        expect_range(log, 1, kept + 2);
        assert_int_equal(omen_log_bytes(log), offset_of(kept + 3));
        omen_log_close(log);
    }
}

/* Flip any single bit: in what was synced it is damage, and the file is left as it is; in the mark
 * that proves it the mark alone is lost. Without the mark, as after a power cut that kept it from
 * the disk, what counts is what the later records say, here nothing: they are one group. */
static void every_flipped_bit_is_detected(void **state)
{
    static struct bytes whole;
    static struct bytes flipped;
    static struct bytes after;
    const struct place *place = *state;
    struct omen_log_report report;

    make_log(place, 3);
    load_file(place, 1, &whole);
    for (size_t bit = 0; bit < 8 * whole.count; bit++) {
        flipped = whole;
        flipped.at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        store_file(place, 1, &flipped);
        if (bit / 8 < offset_of(4)) {
            expect_refused(place, OMEN_DATA_LOSS, "log-00000000000000000001.omen is damaged at");
            load_file(place, 1, &after);
            assert_int_equal(after.count, flipped.count);
            assert_memory_equal(after.at, flipped.at, after.count);
        } else {
            omen_log *log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
            assert_int_equal(report.last_position, 3);
            assert_int_equal(report.torn_bytes, MARK);
            expect_range(log, 1, 3);
            omen_log_close(log);
        }
    }
}

/* Power loss may keep the end of a group and lose its beginning. Nobody was told of that group; but
 * what an earlier sync covered must be there. */
static void group_that_was_not_synced_may_have_holes(void **state)
{
    static struct bytes bytes;
    static struct bytes torn;
    const struct place *place = *state;
    struct omen_log_report report;
    omen_error err = {0};

    omen_log *log = open_log(place);
    append_range(log, 1, 3);
    for (uint64_t position = 4; position <= 9; position++)
        assert_int_equal(try_append(log, position, length_at(position), &err), OMEN_OK);
    omen_log_close(log);
    load_file(place, 1, &bytes);
    assert_int_equal(bytes.count, offset_of(10));

    torn = bytes;
    memset(torn.at + offset_of(3), 0, omen_record_stored_bytes(length_at(3)));
    store_file(place, 1, &torn);
    expect_refused(place, OMEN_DATA_LOSS, "log-00000000000000000001.omen is damaged at");

    torn = bytes;
    memset(torn.at + offset_of(5), 0, omen_record_stored_bytes(length_at(5)));
    store_file(place, 1, &torn);
    log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
    assert_int_equal(report.last_position, 4);
    assert_int_equal(report.torn_bytes, bytes.count - offset_of(5));
    append_range(log, 5, 7);
    expect_range(log, 1, 7);
    omen_log_close(log);
}

/* Logs of format 1 have no marks and do not say what was synced: whole records behind a bad one are
 * damage there. They open, and go on in format 2. */
static void log_of_format_1_opens_and_goes_on(void **state)
{
    static struct bytes bytes;
    static struct bytes torn;
    const struct place *place = *state;
    struct omen_log_report report;
    struct omen_record_header header = {.format_version = 1, .position = 1};

    bytes.count = 0;
    add_record(&bytes, &header);
    for (header.position = 1; header.position <= 5; header.position++) {
        header.type = OMEN_RECORD_CHUNK;
        header.algorithm_version = ALGORITHM;
        header.length = length_at(header.position);
        add_record(&bytes, &header);
    }
    torn = bytes;
    torn.at[offset_of(4)] ^= 1;
    store_file(place, 1, &torn);
    expect_refused(place, OMEN_DATA_LOSS, "is damaged at offset");
    store_file(place, 1, &bytes);
    omen_log *log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
    assert_int_equal(report.last_position, 5);
    assert_int_equal(report.torn_bytes, 0);
    append_range(log, 6, 9);
    expect_range(log, 1, 9);
    omen_log_close(log);
    log = open_log(place);
    expect_range(log, 1, 9);
    omen_log_close(log);
}

/* Some file systems leave zeros where a file grew and the data did not arrive. */
static void tail_of_zeros_is_cut_off(void **state)
{
    static struct bytes bytes;
    const struct place *place = *state;
    struct omen_log_report report;

    make_log(place, 3);
    load_file(place, 1, &bytes);
    memset(bytes.at + bytes.count, 0, 5003);
    bytes.count += 5003;
    store_file(place, 1, &bytes);
    omen_log *log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
    assert_int_equal(report.last_position, 3);
    assert_int_equal(report.torn_bytes, MARK + 5003);
    append_range(log, 4, 5);
    expect_range(log, 1, 5);
    omen_log_close(log);
    log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
    assert_int_equal(report.torn_bytes, 0);
    expect_range(log, 1, 5);
    omen_log_close(log);
}

/* The unfinished record may itself contain what looks like an older record: still a torn tail. */
static void torn_record_that_quotes_an_older_one_is_cut_off(void **state)
{
    static struct bytes bytes;
    const struct place *place = *state;
    struct omen_log_report report;
    const struct omen_record_header quoted = {
        .position = 2, .type = OMEN_RECORD_CHUNK, .format_version = 1, .length = 8};

    make_log(place, 3);
    load_file(place, 1, &bytes);
    memset(bytes.at + bytes.count, 0x55, OMEN_RECORD_HEADER_BYTES);
    bytes.count += OMEN_RECORD_HEADER_BYTES;
    add_record(&bytes, &quoted);
    store_file(place, 1, &bytes);
    omen_log *log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
    assert_int_equal(report.last_position, 3);
    assert_int_equal(report.torn_bytes,
                     MARK + OMEN_RECORD_HEADER_BYTES + omen_record_stored_bytes(8));
    omen_log_close(log);
}

/* A position that was left out is a lost record, though all that is there is whole. */
static void skipped_position_is_damage(void **state)
{
    static struct bytes bytes;
    const struct place *place = *state;
    const struct omen_record_header header = {
        .position = 5, .type = OMEN_RECORD_CHUNK, .format_version = 1, .length = 8};

    make_log(place, 3);
    load_file(place, 1, &bytes);
    bytes.count = offset_of(4);
    add_record(&bytes, &header);
    store_file(place, 1, &bytes);
    expect_refused(place, OMEN_DATA_LOSS, "the position is out of order");
}

static void expect_stranger(const struct place *place, uint8_t type, uint8_t format_version,
                            omen_code code, const char *words)
{
    static struct bytes bytes;
    static struct bytes after;
    const struct omen_record_header header = {
        .position = 4, .type = type, .format_version = format_version, .length = 8};

    load_file(place, 1, &bytes);
    bytes.count = offset_of(4);
    add_record(&bytes, &header);
    store_file(place, 1, &bytes);
    expect_refused(place, code, words);
    load_file(place, 1, &after);
    assert_int_equal(after.count, bytes.count); /* it is no torn tail: nothing was cut */
}

static void newer_format_is_refused_and_kept(void **state)
{
    const struct place *place = *state;

    make_log(place, 3);
    expect_stranger(place, OMEN_RECORD_CHUNK, 3, OMEN_UNIMPLEMENTED, "format version is 3");
    expect_stranger(place, 99, 3, OMEN_UNIMPLEMENTED, "reads up to 2");
}

static void unknown_record_is_refused_and_kept(void **state)
{
    const struct place *place = *state;

    make_log(place, 3);
    expect_stranger(place, 99, 1, OMEN_DATA_LOSS, "type 99");
    expect_stranger(place, OMEN_RECORD_CHUNK, 0, OMEN_DATA_LOSS, "format version 0");
    expect_stranger(place, OMEN_RECORD_FILE, 1, OMEN_DATA_LOSS, "type 0");
}

/* ---- many files ---------------------------------------------------------------------------- */

#define SMALL_FILE 512u
#define MANY       60u

/* Positions of the files' first records, ascending. */
static size_t list_files(const struct place *place, uint64_t firsts[MANY])
{
    char path[320];
    size_t count = 0;

    for (uint64_t first = 1; first <= MANY + 1; first++) {
        file_path(place, first, path);
        if (access(path, F_OK) == 0) firsts[count++] = first;
    }
    return count;
}

static size_t make_many_files(const struct place *place, uint64_t firsts[MANY])
{
    struct omen_log_report report;
    omen_log *log = open_sized(place, SMALL_FILE, &report);

    append_range(log, 1, MANY);
    omen_log_close(log);
    const size_t count = list_files(place, firsts);
    assert_true(count >= 5);
    return count;
}

static void log_goes_on_in_new_files(void **state)
{
    static struct bytes bytes;
    const struct place *place = *state;
    struct omen_log_report report;
    uint64_t firsts[MANY];
    uint64_t total = 0;
    const size_t count = make_many_files(place, firsts);

    for (size_t i = 0; i < count; i++) {
        load_file(place, firsts[i], &bytes);
        assert_true(bytes.count <= SMALL_FILE + MARK);
        total += bytes.count;
    }
    total -= MARK; /* of the last file */
    omen_log *log = open_sized(place, SMALL_FILE, &report);
    assert_int_equal(report.last_position, MANY);
    assert_int_equal(omen_log_bytes(log), total);
    for (uint64_t from = 1; from <= MANY + 1; from++)
        expect_range(log, from, MANY);
    append_range(log, MANY + 1, MANY + 20);
    expect_range(log, 1, MANY + 20);
    omen_log_close(log);
}

/* A record that is larger than a file gets one of its own. */
static void large_record_gets_a_file_of_its_own(void **state)
{
    const struct place *place = *state;
    struct omen_log_report report;
    uint64_t firsts[MANY];
    omen_error err = {0};
    omen_log *log = open_sized(place, SMALL_FILE, &report);

    for (uint64_t position = 1; position <= 3; position++)
        assert_int_equal(try_append(log, position, 3 * SMALL_FILE, &err), OMEN_OK);
    assert_int_equal(list_files(place, firsts), 3);
    omen_log_close(log);
    log = open_sized(place, SMALL_FILE, &report);
    assert_int_equal(report.last_position, 3);
    omen_log_close(log);
}

static void missing_file_is_damage(void **state)
{
    const struct place *place = *state;
    char path[320];
    char words[64];
    uint64_t firsts[MANY];

    (void)make_many_files(place, firsts);
    for (size_t i = 0; i < 3; i++) {
        static struct bytes bytes;
        load_file(place, firsts[i], &bytes);
        file_path(place, firsts[i], path);
        assert_int_equal(unlink(path), 0);
        (void)snprintf(words, sizeof words, "log-%020" PRIu64 ".omen is missing", firsts[i]);
        expect_refused(place, OMEN_DATA_LOSS, words);
        store_file(place, firsts[i], &bytes);
    }
    omen_log_close(open_log(place));
}

/* What would be a torn tail in the last file is damage in any other, down to one byte. */
static void short_file_before_another_is_damage(void **state)
{
    static struct bytes bytes;
    const struct place *place = *state;
    char words[64];
    uint64_t firsts[MANY];

    (void)make_many_files(place, firsts);
    load_file(place, firsts[1], &bytes);
    bytes.count--;
    store_file(place, firsts[1], &bytes);
    (void)snprintf(words, sizeof words, "log-%020" PRIu64 ".omen is damaged", firsts[1]);
    expect_refused(place, OMEN_DATA_LOSS, words);
}

/* A crash while a new file was begun leaves it empty or short: it is begun again. */
static void file_that_was_only_begun_is_begun_again(void **state)
{
    static struct bytes bytes;
    const struct place *place = *state;
    struct omen_log_report report;

    for (bytes.count = 0; bytes.count < OMEN_RECORD_HEADER_BYTES; bytes.count++) {
        uint64_t firsts[MANY];
        char path[320];
        (void)make_many_files(place, firsts);
        store_file(place, MANY + 1, &bytes);
        omen_log *log = open_sized(place, SMALL_FILE, &report);
        assert_int_equal(report.last_position, MANY);
        assert_int_equal(report.torn_bytes, bytes.count);
        append_range(log, MANY + 1, MANY + 2);
        omen_log_close(log);
        log = open_sized(place, SMALL_FILE, &report);
        expect_range(log, 1, MANY + 2);
        omen_log_close(log);
        for (uint64_t first = 1; first <= MANY + 2; first++) {
            file_path(place, first, path);
            (void)unlink(path);
        }
    }
}

/* A file under another one's name is not read as what it is not. */
static void renamed_file_is_damage(void **state)
{
    static struct bytes bytes;
    const struct place *place = *state;

    make_log(place, 3);
    load_file(place, 1, &bytes);
    store_file(place, 4, &bytes);
    expect_refused(place, OMEN_DATA_LOSS, "log-00000000000000000004.omen at offset 0");
}

static void files_of_other_names_are_left_alone(void **state)
{
    static const char *names[] = {"log-4.omen", "log-00000000000000000004.omen.old", "log-x", "x"};
    const struct place *place = *state;
    char path[320];

    make_log(place, 3);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", place->dir, names[i]);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        (void)fclose(file);
    }
    omen_log *log = open_log(place);
    expect_range(log, 1, 3);
    omen_log_close(log);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", place->dir, names[i]);
        assert_int_equal(access(path, F_OK), 0);
    }
}

static uint64_t next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return *random >> 33;
}

/* The first position of the newest file that begins at or before `limit`. */
static uint64_t last_file(const struct place *place, uint64_t limit)
{
    char path[320];

    for (uint64_t first = limit; first > 1; first--) {
        file_path(place, first, path);
        if (access(path, F_OK) == 0) return first;
    }
    return 1;
}

static uint64_t file_bytes(const struct place *place, uint64_t first)
{
    struct stat status;
    char path[320];

    file_path(place, first, path);
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

/* Cuts the last file anywhere after what was synced, and may add rubbish. True if it did something.
 */
static bool crash(const struct place *place, uint64_t first, uint64_t synced_bytes,
                  uint64_t *random)
{
    static struct bytes bytes;

    load_file(place, first, &bytes);
    const size_t before = bytes.count;
    bytes.count = synced_bytes + next_random(random) % (before - synced_bytes + 1);
    bool did = bytes.count != before;
    for (uint64_t rubbish = next_random(random) % 3 * 20; rubbish > 0; rubbish--) {
        bytes.at[bytes.count++] = (unsigned char)next_random(random);
        did = true;
    }
    store_file(place, first, &bytes);
    return did;
}

/* A long life of small files, appends, syncs and crashes. A crash leaves any length of what was not
 * synced, and sometimes rubbish after it. Nothing that was synced may be missing. */
static void no_crash_loses_a_synced_record(void **state)
{
    const struct place *place = *state;
    struct omen_log_report report;
    uint64_t random = 20260131;
    uint64_t last = 0; /* appended and not lost */
    uint64_t crashes_that_tore = 0;

    for (int life = 0; life < 200; life++) {
        omen_log *log = open_sized(place, SMALL_FILE, &report);
        assert_int_equal(report.last_position, last);
        expect_range(log, 1, last);
        const uint64_t synced = last + next_random(&random) % 12;
        append_range(log, last + 1, synced);
        const uint64_t first = last_file(place, synced + 1);
        const uint64_t synced_bytes = file_bytes(place, first) - MARK;
        last = synced;
        omen_error err = {0};
        for (uint64_t more = next_random(&random) % 4; more > 0; more--) {
            assert_int_equal(try_append(log, last + 1, length_at(last + 1), &err), OMEN_OK);
            last++;
            if (last_file(place, last) == first) continue;
            omen_log_close(log); /* a file was begun, so the one before was synced: next life */
            log = NULL;
            break;
        }
        if (log == NULL) continue;
        omen_log_close(log);
        crashes_that_tore += crash(place, first, synced_bytes, &random);
        log = open_sized(place, SMALL_FILE, &report);
        assert_in_range(report.last_position, synced, last);
        last = report.last_position;
        omen_log_close(log);
    }
    assert_true(crashes_that_tore > 20);
}

/* ---- a file system that says no ------------------------------------------------------------ */

static void expect_broken(omen_log *log, const char *words)
{
    omen_error err = {0};
    uint64_t next = 1;

    assert_int_equal(try_append(log, 99, 1, &err), OMEN_UNAVAILABLE);
    assert_non_null(strstr(err.message, words));
    assert_int_equal(omen_log_sync(log, &err), OMEN_UNAVAILABLE);
    assert_non_null(strstr(err.message, words));
    assert_int_equal(omen_log_read(log, 1, expect_record, &next, &err), OMEN_UNAVAILABLE);
    assert_non_null(strstr(err.message, words));
}

/* The file may not grow: the write stops in the middle of a record. The log refuses everything,
 * even when there would be room again, and what was whole is there after opening it again. */
static void failed_write_is_final(void **state)
{
    const struct place *place = *state;
    struct omen_log_report report;
    struct rlimit before;
    omen_error err = {0};
    omen_log *log = open_log(place);

    append_range(log, 1, 3);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct rlimit tight = before;
    tight.rlim_cur = offset_of(4) + 30;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const omen_code code = try_append(log, 4, 100, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(code, OMEN_UNAVAILABLE);
    expect_broken(log, "File too large");
    omen_log_close(log);

    log = open_sized(place, OMEN_LOG_FILE_BYTES, &report);
    assert_int_equal(report.torn_bytes, 30);
    expect_range(log, 1, 3);
    append_range(log, 4, 5);
    expect_range(log, 1, 5);
    omen_log_close(log);
}

/* The descriptor on which the log has its first file. */
static int find_descriptor(const struct place *place)
{
    struct stat wanted;
    struct stat here;
    char path[320];

    file_path(place, 1, path);
    assert_int_equal(stat(path, &wanted), 0);
    for (int fd = 3; fd < 1024; fd++)
        if (fstat(fd, &here) == 0 && here.st_ino == wanted.st_ino && here.st_dev == wanted.st_dev)
            return fd;
    fail_msg("the log has no descriptor on %s", path);
    return -1;
}

/* After a failed sync the kernel may have dropped what it could not write; a later sync that
 * succeeds would lie. */
static void failed_sync_is_final(void **state)
{
    const struct place *place = *state;
    int pipes[2];
    omen_error err = {0};
    omen_log *log = open_log(place);

    append_range(log, 1, 3);
    const int fd = find_descriptor(place);
    const int kept = dup(fd);
    assert_true(kept >= 0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(dup2(pipes[1], fd), fd); /* a pipe cannot be synced */
    assert_int_equal(omen_log_sync(log, &err), OMEN_UNAVAILABLE);
    assert_int_equal(dup2(kept, fd), fd);
    expect_broken(log, "sync");
    omen_log_close(log);
    (void)close(kept);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

/* A new file that cannot be made is a failed append like any other. */
static void failed_rotation_is_final(void **state)
{
    const struct place *place = *state;
    struct omen_log_report report;
    omen_error err = {0};
    omen_code code = OMEN_OK;
    char path[320];
    omen_log *log = open_sized(place, SMALL_FILE, &report);

    file_path(place, 1, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(place->dir), 0);
    for (uint64_t position = 1; position < 40 && code == OMEN_OK; position++)
        code = try_append(log, position, 60, &err);
    assert_int_equal(mkdir(place->dir, 0700), 0);
    assert_int_equal(code, OMEN_UNAVAILABLE);
    expect_broken(log, "create log-");
    omen_log_close(log);
}

static void missing_directory_is_named(void **state)
{
    const struct place *place = *state;
    struct place nowhere;

    (void)snprintf(nowhere.dir, sizeof nowhere.dir, "%.200s/nowhere", place->dir);
    expect_refused(&nowhere, OMEN_UNAVAILABLE, "/nowhere: No such file or directory");
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_is_the_one_of_rfc_3720),
        cmocka_unit_test(header_has_the_documented_layout),
        IN_PLACE(appended_records_come_back_in_order),
        IN_PLACE(parts_are_gathered_into_one_payload),
        IN_PLACE(record_over_the_limit_is_refused_and_the_log_goes_on),
        IN_PLACE(visitor_can_end_the_reading),
        IN_PLACE(every_truncation_leaves_the_longest_whole_prefix),
        IN_PLACE(every_flipped_bit_is_detected),
        IN_PLACE(group_that_was_not_synced_may_have_holes),
        IN_PLACE(log_of_format_1_opens_and_goes_on),
        IN_PLACE(tail_of_zeros_is_cut_off),
        IN_PLACE(torn_record_that_quotes_an_older_one_is_cut_off),
        IN_PLACE(skipped_position_is_damage),
        IN_PLACE(newer_format_is_refused_and_kept),
        IN_PLACE(unknown_record_is_refused_and_kept),
        IN_PLACE(log_goes_on_in_new_files),
        IN_PLACE(large_record_gets_a_file_of_its_own),
        IN_PLACE(missing_file_is_damage),
        IN_PLACE(short_file_before_another_is_damage),
        IN_PLACE(file_that_was_only_begun_is_begun_again),
        IN_PLACE(renamed_file_is_damage),
        IN_PLACE(files_of_other_names_are_left_alone),
        IN_PLACE(no_crash_loses_a_synced_record),
        IN_PLACE(failed_write_is_final),
        IN_PLACE(failed_sync_is_final),
        IN_PLACE(failed_rotation_is_final),
        IN_PLACE(missing_directory_is_named),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
