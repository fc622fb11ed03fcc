/* allocation_test.c - in the steady state a search allocates nothing.
 *
 * The allocator is this file's: it stands before engine/memory.c, which the linker then leaves out.
 */
#include "tests/engine/fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/memory.h"

#define DIM     24u
#define ROWS    4000u
#define QUERIES 100u
#define ROUNDS  20u

static _Atomic uint64_t allocations;

void *omen_alloc(size_t bytes)
{
    atomic_fetch_add(&allocations, 1);
    return malloc(bytes == 0 ? 1 : bytes);
}

void *omen_alloc_zeroed(size_t bytes)
{
    atomic_fetch_add(&allocations, 1);
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *omen_alloc_aligned(size_t bytes)
{
    atomic_fetch_add(&allocations, 1);
    return aligned_alloc(64, (bytes + 64) / 64 * 64);
}

void *omen_realloc(void *old, size_t bytes)
{
    atomic_fetch_add(&allocations, 1);
    return realloc(old, bytes == 0 ? 1 : bytes);
}

void omen_free(void *p)
{
    free(p);
}

void *omen_pages_map(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    atomic_fetch_add(&allocations, 1);
    return pages == MAP_FAILED ? NULL : pages;
}

void omen_pages_unmap(void *pages, size_t bytes)
{
    if (pages != NULL) (void)munmap(pages, bytes);
}

void omen_pages_huge(void *pages, size_t bytes)
{
    (void)pages;
    (void)bytes;
}

/* One engine, so that every thread of it does every kind of search in the warm-up: with one search
 * thread there is one set of buffers. */
static void open_with_one_search_thread(struct fixture_engine *f)
{
    struct omen_engine_options options = {.ingest_threads = 1, .search_threads = 1};
    omen_error err = {0};

    fixture_open(f, 1, 0);
    omen_engine_close(f->engine);
    options.data_dir = f->dir;
    if (omen_engine_open(&options, &f->engine, &err) != OMEN_OK) fail_msg("%s", err.message);
}

/* Half of the points have keys; some are gone again. */
static void fill(omen_collection *c, const float *rows)
{
    struct fixture_stream *s =
        fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    struct omen_stream_state state;

    for (uint32_t at = 0; at < ROWS; at += 200) {
        omen_chunk *chunk = fixture_chunk(s, 200);

        for (uint32_t i = 0; i < 200; i++) {
            char key[24];
            int bytes = snprintf(key, sizeof key, "point number %u", at + i);
            struct omen_id id =
                i % 2 == 0 ? omen_id_num(at + i) : omen_id_key(key, (uint32_t)bytes);

            fixture_chunk_add(chunk, i, id, rows + (size_t)(at + i) * DIM, DIM, 0);
        }
        for (uint32_t i = 0; i < 10; i++) {
            struct omen_id gone = omen_id_num(at + 4 * i);

            omen_chunk_delete(chunk, 200 + i, &gone);
        }
        fixture_push_chunk(s, chunk);
    }
    fixture_wait(s, &state);
    assert_int_equal(state.code, OMEN_OK);
    fixture_stream_close(s);
}

static void search_in_every_way(omen_collection *c, const float *queries)
{
    static const struct {
        uint32_t count, k, ef;
    } ways[] = {{1, 10, 64},           {QUERIES, 10, 64}, {QUERIES, 10, FIXTURE_EXACT},
                {1, 1, FIXTURE_EXACT}, {3, 200, 300},     {40, 5, 16}};

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct omen_search s;

        fixture_search(c, queries, ways[i].count, ways[i].k, ways[i].ef, &s);
        assert_int_equal(s.code, OMEN_OK);
        assert_int_equal(s.results[0].hit_count, ways[i].k);
        omen_search_deinit(&s);
    }
}

static void a_search_in_the_steady_state_allocates_nothing(void **state)
{
    float *rows = fixture_mixture(77, ROWS, DIM, 20);
    struct fixture_engine f;
    omen_collection *c;
    uint64_t before;

    (void)state;
    open_with_one_search_thread(&f);
    c = fixture_collection(
        &f, "steady", (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_COSINE});
    fill(c, rows);
    before = atomic_load(&allocations);
    search_in_every_way(c, rows);
    assert_true(atomic_load(&allocations) > before); /* the first ones do: the count counts */
    for (uint32_t i = 0; i < 3; i++)
        search_in_every_way(c, rows);
    before = atomic_load(&allocations);
    for (uint32_t i = 0; i < ROUNDS; i++)
        search_in_every_way(c, rows);
    print_message("%llu allocations in %u rounds of every kind of search\n",
                  (unsigned long long)(atomic_load(&allocations) - before), ROUNDS);
    assert_true(atomic_load(&allocations) == before);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_in_the_steady_state_allocates_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
