/* erasure_test.c - two checkpoints after a point was deleted nothing of it is in any file: not its
 * vector, not its code, not its key. And those checkpoints come by themselves in time.
 *
 * What is looked for was found before, or looking would prove nothing.
 */
#include "tests/engine/fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/collection.h"

#define DIM     20u
#define POINTS  1000u
#define SECRETS 20u /* the first ones, numbers and keys: too few to be swept by themselves */
#define COPIES  3u  /* of the vector of the first secret, under other ids; it is their head */

struct secret {
    float vector[DIM];
    uint8_t code[64]; /* a stride */
    char key[16];     /* empty: it has a number */
};

static struct secret secrets[SECRETS];

static struct omen_id id_of(uint32_t i)
{
    if (i < SECRETS && secrets[i].key[0] != '\0')
        return omen_id_key(secrets[i].key, (uint32_t)strlen(secrets[i].key));
    return omen_id_num(i);
}

/* ---- looking ------------------------------------------------------------------------------- */

static uint32_t count_in_file(const char *path, const void *wanted, size_t count)
{
    FILE *file = fopen(path, "rb");
    uint32_t found = 0;

    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const size_t size = (size_t)ftell(file);
    char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    rewind(file);
    assert_int_equal(fread(bytes, 1, size, file), size);
    (void)fclose(file);
    for (const char *at = bytes; at != NULL;) {
        at = memmem(at, size - (size_t)(at - bytes), wanted, count);
        if (at == NULL) break;
        found++;
        at++;
    }
    free(bytes);
    return found;
}

/* In all files of the collection. */
static uint32_t count_bytes(const char *dir, const void *wanted, size_t count)
{
    DIR *names = opendir(dir);
    uint32_t found = 0;

    assert_non_null(names);
    for (const struct dirent *entry = readdir(names); entry != NULL; entry = readdir(names)) {
        char path[900];

        if (entry->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        found += count_in_file(path, wanted, count);
    }
    (void)closedir(names);
    return found;
}

static uint32_t count_secrets(const char *dir, uint32_t first, uint32_t *codes, uint32_t *keys)
{
    uint32_t vectors = 0;

    *codes = *keys = 0;
    for (uint32_t i = first; i < SECRETS; i++) {
        vectors += count_bytes(dir, secrets[i].vector, sizeof secrets[i].vector) > 0;
        *codes += count_bytes(dir, secrets[i].code, DIM) > 0;
        if (secrets[i].key[0] != '\0')
            *keys += count_bytes(dir, secrets[i].key, strlen(secrets[i].key)) > 0;
    }
    return vectors;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void make_secrets(void)
{
    float *rows = fixture_mixture(99, SECRETS, DIM, 5);

    for (uint32_t i = 0; i < SECRETS; i++) {
        memcpy(secrets[i].vector, rows + (size_t)i * DIM, sizeof secrets[i].vector);
        secrets[i].key[0] = '\0';
        if (i % 2 == 0) (void)snprintf(secrets[i].key, sizeof secrets[i].key, "secret-%04u", i);
    }
    free(rows);
}

static void note_codes(omen_collection *c)
{
    (void)pthread_mutex_lock(&c->admit_mutex);
    for (uint32_t i = 0; i < SECRETS; i++) {
        const struct omen_id id = id_of(i);
        const uint32_t slot = omen_admit_find_id(c, &id);

        assert_true(slot != OMEN_SLOT_NONE);
        memcpy(secrets[i].code, omen_graph_code(&c->graph, slot), c->graph.stride);
    }
    (void)pthread_mutex_unlock(&c->admit_mutex);
}

static void insert(omen_collection *c)
{
    float *rows = fixture_mixture(98, POINTS, DIM, 9);
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    omen_chunk *chunk = fixture_chunk(s, POINTS + COPIES);
    struct omen_stream_state state;

    for (uint32_t i = 0; i < POINTS; i++)
        fixture_chunk_add(chunk, i, id_of(i),
                          i < SECRETS ? secrets[i].vector : rows + (size_t)i * DIM, DIM, 0);
    for (uint32_t i = 0; i < COPIES; i++) {
        float almost[DIM]; /* another vector of the same code */

        memcpy(almost, secrets[0].vector, sizeof almost);
        almost[0] = secrets[0].vector[0] * (1.0f + 1e-6f);
        fixture_chunk_add(chunk, POINTS + i, omen_id_num(POINTS + i), almost, DIM, 0);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
    assert_int_equal(state.code, OMEN_OK);
    fixture_stream_close(s);
    free(rows);
}

static void delete_secrets(omen_collection *c)
{
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    omen_chunk *chunk = fixture_chunk(s, 0);
    struct omen_stream_state state;

    for (uint32_t i = 0; i < SECRETS; i++) {
        const struct omen_id id = id_of(i);

        omen_chunk_delete(chunk, i, &id);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
    assert_int_equal(state.code, OMEN_OK);
    fixture_stream_close(s);
}

static void checkpoint(omen_collection *c)
{
    omen_error err;

    if (omen_collection_checkpoint(c, &err) != OMEN_OK) fail_msg("%s", err.message);
}

/* Of the first secret the code lives on, with its copies. */
static void expect_gone(const char *dir)
{
    uint32_t codes, keys;

    assert_int_equal(count_secrets(dir, 0, &codes, &keys), 0);
    assert_int_equal(keys, 0);
    assert_int_equal(count_secrets(dir, 1, &codes, &keys), 0);
    assert_int_equal(codes, 0);
}

static omen_collection *make(struct fixture_engine *f, const char *name)
{
    const struct omen_collection_settings settings = {.dim = DIM, .metric = OMEN_METRIC_L2};
    uint32_t codes, keys;
    omen_collection *c;

    make_secrets();
    c = fixture_collection(f, name, settings);
    insert(c);
    note_codes(c);
    checkpoint(c);
    assert_int_equal(count_secrets(c->dir, 0, &codes, &keys), SECRETS);
    assert_int_equal(codes, SECRETS);
    assert_int_equal(keys, SECRETS / 2);
    delete_secrets(c);
    return c;
}

static void two_checkpoints_after_a_delete_nothing_of_the_point_is_left(void **state)
{
    struct fixture_engine f;
    char dir[700];

    (void)state;
    fixture_open(&f, 1, 0);
    omen_collection *c = make(&f, "secrets");
    (void)snprintf(dir, sizeof dir, "%s", c->dir);
    checkpoint(c);
    checkpoint(c);
    expect_gone(dir);
    fixture_assert_sound(c);
    omen_collection_release(c);
    fixture_reopen(&f, 1, 0, NULL);
    expect_gone(dir);
    c = fixture_acquire(&f, "secrets");
    fixture_assert_sound(c);
    omen_collection_release(c);
    fixture_close(&f);
}

/* As if it had been deleted half of the time ago that there is. */
static void age_deletes(omen_collection *c)
{
    (void)pthread_mutex_lock(&c->admit_mutex);
    c->admit.death_s = (uint32_t)time(NULL) - OMEN_ERASE_SECONDS_MAX / 2;
    atomic_store(&c->checkpoints.death_s, c->admit.death_s);
    (void)pthread_mutex_unlock(&c->admit_mutex);
}

/* Files of checkpoints behind this record. */
static uint32_t count_files_after(const char *dir, uint64_t position)
{
    DIR *names = opendir(dir);
    uint32_t found = 0;

    assert_non_null(names);
    for (const struct dirent *entry = readdir(names); entry != NULL; entry = readdir(names))
        found += strncmp(entry->d_name, "checkpoint-", 11) == 0 &&
                 strstr(entry->d_name, ".new") == NULL &&
                 strtoull(entry->d_name + 11, NULL, 10) > position;
    (void)closedir(names);
    return found;
}

/* Whoever asks for a checkpoint of another collection makes the engine look round. */
static void old_deletes_make_two_checkpoints_due(void **state)
{
    const struct omen_collection_settings settings = {.dim = DIM, .metric = OMEN_METRIC_L2};
    struct omen_engine_options options = {
        .ingest_threads = 1, .search_threads = 1, .replay_ms_max = 3600000};
    struct fixture_engine f;
    uint64_t first;
    uint32_t rounds = 0;
    omen_error err;

    (void)state;
    fixture_open(&f, 1, 0);
    omen_engine_close(f.engine); /* the fixture's makes none by itself */
    options.data_dir = f.dir;
    assert_int_equal(omen_engine_open(&options, &f.engine, &err), OMEN_OK);
    omen_collection *other = fixture_collection(&f, "other", settings);
    omen_collection *c = make(&f, "secrets");
    checkpoint(other);
    first = atomic_load(&c->checkpoints.file_position);
    age_deletes(c);
    while (count_files_after(c->dir, first) < 2 && rounds++ < 10000)
        checkpoint(other);
    while (atomic_load(&c->checkpoints.busy) || atomic_load(&c->checkpoints.trim_before) != 0)
        checkpoint(other);
    assert_int_equal(count_files_after(c->dir, first), 2);
    expect_gone(c->dir);
    omen_collection_release(c);
    omen_collection_release(other);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_checkpoints_after_a_delete_nothing_of_the_point_is_left),
        cmocka_unit_test(old_deletes_make_two_checkpoints_due),
    };

    return cmocka_run_group_tests_name("erasure", tests, NULL, NULL);
}
