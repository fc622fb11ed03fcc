/* rows.c - see rows.h.
 *
 * A .npy file is a magic number, a version, a header (the text of a Python dict, padded so that the
 * data begins aligned) and the bare values. Only what the benchmarks' data sets are is read: f32
 * and f16, two dimensions, C order.
 *
 * Failure modes: any other array, and a file shorter than its shape says, are refused by a sentence
 * that names the file.
 */
#include "bench/load/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MAX 4096u /* numpy's own are 128 bytes */
#define CENTRES    256u
#define NOISE      0.6f /* beside centres of length 1: clusters that touch */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are used as they are stored");

/* What the header says. */
struct shape {
    size_t offset; /* of the first value */
    uint64_t count;
    uint32_t dim;
    uint32_t value_bytes; /* 4 or 2 */
};

static omen_code read_shape(const char *path, const uint8_t *file, size_t bytes,
                            struct shape *shape, omen_error *err);
static bool parse_header(const char *text, struct shape *shape);
static float half_to_float(uint16_t half);
static omen_code widen(const uint8_t *file, const struct shape *shape, struct omen_load_rows *rows,
                       omen_error *err);
static void make_row(uint64_t seed, uint64_t number, float *row, uint32_t dim);
static uint64_t next_random(uint64_t *state);

omen_code omen_load_rows_read(const char *path, uint64_t limit, struct omen_load_rows *rows,
                              omen_error *err)
{
    omen_code code = OMEN_OK;
    struct shape shape = {0};
    struct stat stat = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *rows = (struct omen_load_rows){0};
    if (fd < 0 || fstat(fd, &stat) != 0 || stat.st_size == 0) {
        code = omen_fail(err, OMEN_NOT_FOUND, "%s: cannot be read (errno %d)", path, errno);
        goto done;
    }
    rows->mapped_bytes = (size_t)stat.st_size;
    rows->mapped = mmap(NULL, rows->mapped_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (rows->mapped == MAP_FAILED) {
        rows->mapped = NULL;
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%s: map %zu bytes: errno %d", path,
                         rows->mapped_bytes, errno);
        goto done;
    }
    code = read_shape(path, rows->mapped, rows->mapped_bytes, &shape, err);
    if (code != OMEN_OK) goto done;
    if (limit != 0 && limit < shape.count) shape.count = limit;
    rows->count = shape.count;
    rows->dim = shape.dim;
    if (shape.value_bytes == 2)
        code = widen(rows->mapped, &shape, rows, err);
    else
        rows->values = (const float *)(const void *)((const uint8_t *)rows->mapped + shape.offset);

done:
    if (fd >= 0) (void)close(fd);
    if (code != OMEN_OK) omen_load_rows_close(rows);
    return code;
}

static omen_code read_shape(const char *path, const uint8_t *file, size_t bytes,
                            struct shape *shape, omen_error *err)
{
    static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    char text[HEADER_MAX + 1];
    size_t begin = 0;
    size_t length = 0;

    if (bytes < 12 || memcmp(file, magic, sizeof magic) != 0)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s: not a .npy file", path);
    begin = file[6] == 1 ? 10 : 12; /* version 1 has 2 bytes of length, later ones 4 */
    length = (size_t)file[8] | (size_t)file[9] << 8;
    if (begin == 12) length |= (size_t)file[10] << 16 | (size_t)file[11] << 24;
    if (length > HEADER_MAX || begin + length > bytes)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s: header of %zu bytes, the limit is %u",
                         path, length, HEADER_MAX);
    memcpy(text, file + begin, length);
    text[length] = '\0';
    shape->offset = begin + length;
    if (!parse_header(text, shape) || shape->offset % sizeof(float) != 0)
        return omen_fail(
            err, OMEN_INVALID_ARGUMENT,
            "%s: wanted a two-dimensional array of '<f4' or '<f2' in C order, not %.80s", path,
            text);
    if (shape->dim < OMEN_DIM_MIN || shape->dim > OMEN_DIM_MAX)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s: dim %u, limits are %u and %u", path,
                         shape->dim, OMEN_DIM_MIN, OMEN_DIM_MAX);
    if (shape->count == 0 ||
        shape->count > (bytes - shape->offset) / ((uint64_t)shape->dim * shape->value_bytes))
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "%s: %" PRIu64 " rows of %u values are not in its %zu bytes", path,
                         shape->count, shape->dim, bytes);
    return OMEN_OK;
}

static bool parse_header(const char *text, struct shape *shape)
{
    const char *at = strstr(text, "'shape': (");

    if (at == NULL || strstr(text, "'fortran_order': False") == NULL) return false;
    if (strstr(text, "'descr': '<f4'") != NULL)
        shape->value_bytes = 4;
    else if (strstr(text, "'descr': '<f2'") != NULL)
        shape->value_bytes = 2;
    else
        return false;
    int end = 0;

    return sscanf(at, "'shape': (%" SCNu64 ", %" SCNu32 ")%n", &shape->count, &shape->dim, &end) ==
               2 &&
           end > 0;
}

/* Exponent and mantissa move to their places and the multiplication corrects the bias, which also
 * makes subnormal numbers right. */
static float half_to_float(uint16_t half)
{
    uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    float value = 0;

    if (magnitude >= 0x0f800000u) {
        magnitude |= 0x7f800000u; /* infinite, or not a number */
    } else {
        memcpy(&value, &magnitude, sizeof value);
        value *= 0x1p112f;
        memcpy(&magnitude, &value, sizeof value);
    }
    magnitude |= sign;
    memcpy(&value, &magnitude, sizeof value);
    return value;
}

static omen_code widen(const uint8_t *file, const struct shape *shape, struct omen_load_rows *rows,
                       omen_error *err)
{
    size_t values = (size_t)shape->count * shape->dim;

    rows->made = malloc(values * sizeof(float));
    if (rows->made == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%zu values as f32", values);
    for (size_t i = 0; i < values; i++) {
        uint16_t half = 0;

        memcpy(&half, file + shape->offset + i * sizeof half, sizeof half);
        rows->made[i] = half_to_float(half);
    }
    rows->values = rows->made;
    return OMEN_OK;
}

void omen_load_rows_close(struct omen_load_rows *rows)
{
    free(rows->made);
    if (rows->mapped != NULL) (void)munmap(rows->mapped, rows->mapped_bytes);
    *rows = (struct omen_load_rows){0};
}

/* ---- synthetic rows ----------------------------------------------------------------------- */

omen_code omen_load_rows_make(const struct omen_load_synthetic *wanted, struct omen_load_rows *rows,
                              omen_error *err)
{
    size_t row_bytes = (size_t)wanted->dim * sizeof(float);

    *rows = (struct omen_load_rows){.count = wanted->count, .dim = wanted->dim};
    rows->made = calloc(wanted->count, row_bytes);
    if (rows->made == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED,
                         "--rows %" PRIu64 ": %zu bytes each are more than the memory",
                         wanted->count, row_bytes);
    for (uint64_t i = 0; i < wanted->count; i++)
        make_row(wanted->seed, wanted->first + i, rows->made + i * wanted->dim, wanted->dim);
    rows->values = rows->made;
    return OMEN_OK;
}

/* About normal with variance 1: the sum of four uniform values. */
static float next_normal(uint64_t *state)
{
    uint64_t bits = next_random(state);
    uint64_t sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);

    return ((float)sum / 65536.0f - 2.0f) * 1.7320508f;
}

static void make_row(uint64_t seed, uint64_t number, float *row, uint32_t dim)
{
    uint64_t noise = seed ^ 0x5851f42d4c957f2du;
    uint64_t centre = seed;

    noise = next_random(&noise) + number * 0xd1342543de82ef95u;
    noise = next_random(&noise); /* neighbours' numbers are no neighbours here */
    centre += next_random(&noise) % CENTRES * 0x2545f4914f6cdd1du;
    centre = next_random(&centre);
    for (uint32_t i = 0; i < dim; i++)
        row[i] = next_normal(&centre) + NOISE * next_normal(&noise);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
