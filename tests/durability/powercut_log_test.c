/* powercut_log_test.c - the log over a disk that loses power and refuses calls, by the thousand.
 *
 * Each history has a seed, which a failure names. Records' contents follow from their position and
 * the life in which they were appended, so that a record of an earlier life is not taken for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/log_file.h"
#include "engine/record.h"
#include "engine/storage_memory.h"

#define DIR        "/no/such/directory"
#define POSITIONS  4096u
#define LIVES      6
#define HISTORIES  2500u
#define LENGTH_MAX 3000u

struct history {
    uint64_t seed;
    uint64_t random;
    struct omen_storage *storage;
    omen_log *log;
    uint64_t file_bytes;
    uint64_t first; /* the log begins here, as far as a trim has returned */
    uint64_t asked; /* or here, as far as one was tried */
    uint64_t synced;
    uint64_t appended;
    uint32_t life;
    uint32_t life_of[POSITIONS]; /* in which the record was appended */
    uint64_t next;               /* of a reading */
};

static uint64_t next_random(struct history *h)
{
    uint64_t x = h->random += 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Many are empty, some are longer than a sector. */
static uint32_t fill(uint64_t position, uint32_t life, unsigned char bytes[LENGTH_MAX])
{
    uint64_t state = position * 1000 + life;
    uint32_t length = 0;

    state = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
    state = (state ^ state >> 27) * 0x94d049bb133111ebu;
    if (state % 4 != 0) length = (uint32_t)(state >> 8) % (state % 4 == 1 ? LENGTH_MAX : 100u);
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(state >> i % 57);
    return length;
}

static omen_code expect_record(void *user, const struct omen_record *record, omen_error *err)
{
    static unsigned char bytes[LENGTH_MAX];
    struct history *h = user;

    (void)err;
    assert_int_equal(record->position, h->next);
    const uint32_t length = fill(record->position, h->life_of[record->position], bytes);
    assert_int_equal(record->length, length);
    assert_memory_equal(record->payload, bytes, length);
    h->next++;
    return OMEN_OK;
}

/* Opens, and checks that all that was synced is there, perhaps more of what was appended, nothing
 * else. False if the power went. */
static bool open_log(struct history *h)
{
    struct omen_log_report report;
    omen_error err = {0};
    const omen_code code =
        omen_log_file_open_sized(h->storage, DIR, h->file_bytes, &h->log, &report, &err);

    if (code != OMEN_OK) {
        if (!omen_storage_memory_is_dead(h->storage))
            fail_msg("seed %" PRIu64 ": open: %s", h->seed, err.message);
        return false;
    }
    if (report.last_position < h->synced || report.last_position > h->appended)
        fail_msg("seed %" PRIu64 ": %" PRIu64 " records of %" PRIu64 " synced, %" PRIu64
                 " appended",
                 h->seed, report.last_position, h->synced, h->appended);
    assert_true(report.first_position >= h->first && report.first_position <= h->asked);
    h->first = report.first_position;
    h->asked = h->first;
    h->synced = report.last_position; /* opening has synced what it found */
    h->appended = report.last_position;
    if (omen_storage_memory_is_dead(h->storage)) return false; /* it went after the last sync */
    h->next = h->first;
    if (omen_log_read(h->log, h->first, expect_record, h, &err) != OMEN_OK)
        fail_msg("seed %" PRIu64 ": read: %s", h->seed, err.message);
    assert_int_equal(h->next, report.last_position + 1);
    return true;
}

static bool append_one(struct history *h)
{
    static unsigned char bytes[LENGTH_MAX];
    uint64_t position = 0;
    omen_error err;

    h->appended++;
    assert_true(h->appended < POSITIONS);
    h->life_of[h->appended] = h->life;
    const struct iovec part = {bytes, fill(h->appended, h->life, bytes)};
    if (omen_log_append(h->log, OMEN_RECORD_CHUNK, 1, &part, 1, &position, &err) != OMEN_OK)
        return false;
    assert_int_equal(position, h->appended);
    return true;
}

/* Until the power goes or a call is refused; true if neither happened. */
static bool work(struct history *h, int steps)
{
    omen_error err;

    for (int i = 0; i < steps; i++) {
        const uint64_t what = next_random(h) % 16;
        if (what < 11) {
            if (!append_one(h)) return false;
        } else if (what < 15) {
            if (omen_log_sync(h->log, &err) != OMEN_OK) return false;
            h->synced = h->appended;
        } else {
            const uint64_t before = h->synced + 1 - (h->synced + 1 - h->first) / 2;
            if (before > h->asked) h->asked = before;
            if (omen_log_trim(h->log, before, &err) != OMEN_OK) return false;
        }
    }
    return true;
}

static void begin(struct history *h, uint64_t seed)
{
    omen_error err;

    memset(h, 0, sizeof *h);
    h->seed = seed;
    h->random = seed;
    h->file_bytes = 1024u << next_random(h) % 6;
    h->first = 1;
    h->asked = 1;
    assert_int_equal(omen_storage_memory_create(seed, &h->storage, &err), OMEN_OK);
}

static void no_power_cut_loses_a_synced_record(void **state)
{
    static struct history h;
    uint64_t cuts = 0;
    uint64_t trims = 0;
    omen_error err;

    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        begin(&h, seed);
        for (h.life = 1; h.life <= LIVES; h.life++) {
            const struct omen_storage_faults faults = {.cut_at = 1 + next_random(&h) % 60,
                                                       .short_transfers = seed % 2 == 0};
            omen_storage_memory_set_faults(h.storage, &faults);
            h.log = NULL;
            if (open_log(&h)) (void)work(&h, 60);
            omen_log_close(h.log);
            cuts += omen_storage_memory_is_dead(h.storage);
            assert_int_equal(omen_storage_memory_restart(h.storage, &err), OMEN_OK);
        }
        assert_true(open_log(&h));
        trims += h.first > 1;
        omen_log_close(h.log);
        omen_storage_memory_destroy(h.storage);
    }
    assert_true(cuts > HISTORIES && trims > HISTORIES / 20);
}

/* Any call may be refused once (for lack of room: full_disk_test.c). The log is then broken for
 * good, or the call did not matter; a power cut later everything synced is there. */
static void no_refused_call_loses_a_synced_record(void **state)
{
    static struct history h;
    uint64_t broken = 0;
    omen_error err = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES / 2; seed++) {
        begin(&h, seed);
        h.life = 1;
        assert_true(open_log(&h));
        const struct omen_storage_faults faults = {.fail_at = 1 + next_random(&h) % 12,
                                                   .fail_calls = 1u << next_random(&h) % 6,
                                                   .fail_errno = EIO,
                                                   .short_transfers = true};
        omen_storage_memory_set_faults(h.storage, &faults);
        if (!work(&h, 80)) {
            const uint64_t appended = h.appended;
            if (!append_one(&h)) {
                assert_int_equal(omen_log_sync(h.log, &err), OMEN_UNAVAILABLE);
                assert_non_null(strstr(err.message, "takes nothing more"));
                h.appended = appended;
                broken++;
            }
        }
        omen_log_close(h.log);
        assert_int_equal(omen_storage_memory_restart(h.storage, &err), OMEN_OK);
        assert_true(open_log(&h));
        omen_log_close(h.log);
        omen_storage_memory_destroy(h.storage);
    }
    assert_true(broken > 100);
}

/* A bit of a record that was synced is wrong: the file is named, and the offset. */
static void every_flipped_bit_in_what_was_synced_is_named(void **state)
{
    static struct history h;
    omen_error err;

    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct omen_log_report report;
        size_t size = 0;
        begin(&h, seed);
        h.file_bytes = 1u << 20;
        h.life = 1;
        assert_true(open_log(&h));
        for (int i = 0; i < 20; i++) {
            assert_true(append_one(&h));
            if (next_random(&h) % 4 == 0) assert_int_equal(omen_log_sync(h.log, &err), OMEN_OK);
        }
        assert_int_equal(omen_log_sync(h.log, &err), OMEN_OK);
        const uint64_t end = omen_log_bytes(h.log);
        omen_log_close(h.log);
        unsigned char *bytes =
            omen_storage_memory_bytes(h.storage, DIR, "log-00000000000000000001.omen", &size);
        assert_true(bytes != NULL && size == end + OMEN_RECORD_HEADER_BYTES);
        bytes[next_random(&h) % end] ^= (unsigned char)(1u << next_random(&h) % 8);
        if (omen_log_file_open_sized(h.storage, DIR, h.file_bytes, &h.log, &report, &err) !=
            OMEN_DATA_LOSS)
            fail_msg("seed %" PRIu64 ": the damage went unseen", seed);
        assert_non_null(strstr(err.message, "log-00000000000000000001.omen"));
        assert_non_null(strstr(err.message, "offset"));
        omen_storage_memory_destroy(h.storage);
    }
}

/* Whole files go, the last one never; what is gone cannot be read, and a lost first file or a
 * damaged note is seen. */
static void trimmed_log_begins_where_it_says(void **state)
{
    static struct history h;
    struct omen_log_report report;
    omen_error err = {0};
    size_t size = 0;

    (void)state;
    begin(&h, 7);
    h.file_bytes = 4096;
    h.life = 1;
    assert_true(open_log(&h));
    while (h.appended < 60)
        assert_true(append_one(&h));
    assert_int_equal(omen_log_sync(h.log, &err), OMEN_OK);
    h.synced = h.appended;
    const uint64_t bytes_before = omen_log_bytes(h.log);
    h.asked = 40;
    assert_int_equal(omen_log_trim(h.log, 40, &err), OMEN_OK);
    assert_true(omen_log_bytes(h.log) < bytes_before);
    h.next = 1;
    assert_int_equal(omen_log_read(h.log, 1, expect_record, &h, &err), OMEN_FAILED_PRECONDITION);
    omen_log_close(h.log);
    assert_true(open_log(&h));
    assert_in_range(h.first, 2, 40);
    h.asked = 1000;
    assert_int_equal(omen_log_trim(h.log, 1000, &err), OMEN_OK);
    assert_true(append_one(&h));
    omen_log_close(h.log);
    h.synced = 60;
    assert_true(open_log(&h));
    omen_log_close(h.log);

    unsigned char *note = omen_storage_memory_bytes(h.storage, DIR, "log.trimmed", &size);
    assert_true(note != NULL && size == OMEN_RECORD_HEADER_BYTES);
    note[9] ^= 1;
    assert_int_equal(omen_log_file_open(h.storage, DIR, &h.log, &report, &err), OMEN_DATA_LOSS);
    assert_non_null(strstr(err.message, "log.trimmed is damaged"));
    note[9] ^= 1;
    const int dir = h.storage->ops->open_dir(h.storage, DIR);
    assert_int_equal(h.storage->ops->remove(h.storage, dir, "log.trimmed"), 0);
    h.storage->ops->close(h.storage, dir);
    assert_int_equal(omen_log_file_open(h.storage, DIR, &h.log, &report, &err), OMEN_DATA_LOSS);
    assert_non_null(strstr(err.message, "is missing"));
    omen_storage_memory_destroy(h.storage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_power_cut_loses_a_synced_record),
        cmocka_unit_test(no_refused_call_loses_a_synced_record),
        cmocka_unit_test(every_flipped_bit_in_what_was_synced_is_named),
        cmocka_unit_test(trimmed_log_begins_where_it_says),
    };

    return cmocka_run_group_tests_name("power cuts under the log", tests, NULL, NULL);
}
