/* kernels_loop.c - our kernels and foreign functions in the same loop, for kernels_peers.py.
 *
 * A shared library for Python's ctypes. One pass takes a query over `count` rows, which the caller
 * spreads over memory as it likes, and returns the nanoseconds of all of it. A foreign function is
 * called once a row, as is our 1 x 1 kernel; our 1 x many kernel gets 32 rows to a call, as a hop
 * of a search does. `results` has room for 8 bytes a row; how many of them a function writes is its
 * own affair, so a foreign one must write no more. Any thread.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

#define HOP    32u
#define EXPORT __attribute__((visibility("default")))

typedef void foreign_fn(const void *a, const void *b, uint64_t components, void *result);

EXPORT const char *omen_loop_row(const char *op, uint32_t dim);
EXPORT double omen_loop_foreign(foreign_fn *fn, const void *query, const void *const *rows,
                                size_t count, size_t dim, void *results);
EXPORT double omen_loop_f32(const char *op, const float *query, const float *const *rows,
                            size_t count, size_t dim, float *results);
EXPORT double omen_loop_i8(const char *op, const int8_t *query, const uint8_t *const *rows,
                           size_t count, size_t dim, int32_t *results);

static double now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The name of the row that this CPU gets for the op; NULL if there is no such op. */
const char *omen_loop_row(const char *op, uint32_t dim)
{
    struct omen_kernels k;

    omen_kernels_pick(dim, omen_cpu_isas(), &k);
#define OP(field, type)                                                                            \
    if (strcmp(op, #field) == 0) return k.field##_name;
    OMEN_KERNEL_OPS(OP)
#undef OP
    return NULL;
}

double omen_loop_foreign(foreign_fn *fn, const void *query, const void *const *rows, size_t count,
                         size_t dim, void *results)
{
    const double start = now_ns();

    for (size_t i = 0; i < count; i++)
        fn(query, rows[i], dim, (char *)results + 8 * i);
    return now_ns() - start;
}

/* op is "dot_f32_one", "dot_f32_many", "l2sq_f32_one" or "l2sq_f32_many"; else 0. */
double omen_loop_f32(const char *op, const float *query, const float *const *rows, size_t count,
                     size_t dim, float *results)
{
    struct omen_kernels k;
    omen_f32_one_fn *one = NULL;
    omen_f32_many_fn *many = NULL;

    omen_kernels_pick((uint32_t)dim, omen_cpu_isas(), &k);
    if (strcmp(op, "dot_f32_one") == 0) one = k.dot_f32_one;
    if (strcmp(op, "l2sq_f32_one") == 0) one = k.l2sq_f32_one;
    if (strcmp(op, "dot_f32_many") == 0) many = k.dot_f32_many;
    if (strcmp(op, "l2sq_f32_many") == 0) many = k.l2sq_f32_many;
    if (one == NULL && many == NULL) return 0;

    const double start = now_ns();
    for (size_t i = 0; i < count && one != NULL; i++)
        results[i] = one(query, rows[i], dim);
    for (size_t i = 0; i < count && many != NULL; i += HOP)
        many(query, rows + i, count - i < HOP ? count - i : HOP, dim, results + i);
    return now_ns() - start;
}

/* op is "dot_i8_one" or "dot_i8_many"; else 0. `query` is padded with zeros to a whole stride. */
double omen_loop_i8(const char *op, const int8_t *query, const uint8_t *const *rows, size_t count,
                    size_t dim, int32_t *results)
{
    const size_t stride = omen_code_stride(dim);
    struct omen_probe probe = {query, 0};
    struct omen_kernels k;

    for (size_t i = 0; i < stride; i++)
        probe.bias += (int32_t)OMEN_CODE_ZERO * query[i];
    omen_kernels_pick((uint32_t)dim, omen_cpu_isas(), &k);
    const double start = now_ns();
    if (strcmp(op, "dot_i8_one") == 0) {
        for (size_t i = 0; i < count; i++)
            results[i] = k.dot_i8_one(rows[i], &probe, stride);
    } else if (strcmp(op, "dot_i8_many") == 0) {
        for (size_t i = 0; i < count; i += HOP)
            k.dot_i8_many(rows + i, count - i < HOP ? count - i : HOP, &probe, stride, results + i);
    } else {
        return 0;
    }
    return now_ns() - start;
}
