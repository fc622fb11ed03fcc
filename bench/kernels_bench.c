/* kernels_bench.c - how fast is each row of kernels.def, and does a dimension of its own pay?
 *
 *     omen_kernels_bench [DIM ...]      default: 128 256 384 512 768 1536
 *
 * One table per dimension: nanoseconds per unit (a distance, a packed member, an encoded vector)
 * and the GB/s of codes or rows that this amounts to. "L1" repeats a few rows that stay in L1;
 * "memory" gathers rows in random order from 256 MiB in huge pages, 32 to a call where a call takes
 * many, as a hop of a search does. Block products are 64 points x 256 members. "memcpy" is what the
 * row reads from memory in terms of what memcpy copies here at that time; as memcpy also writes,
 * more than 100 % is no mistake. A row with a dimension of its own is timed in turns with the row
 * for any dimension of its tier, and "L1 gain" and "memory gain" say how much faster it is; which
 * of them win 5 % or more, in one of both, stands below the table. Each figure is the best of
 * several passes, in CPU time: other work on the machine cannot make it better, only hide it, but a
 * gain may be either way then, so believe it only on a quiet machine. Fails only if memory is
 * short.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/kernels.h"

#define REGION_BYTES ((size_t)256 << 20)
#define HOT_BYTES    ((size_t)12 << 10) /* of a 32 KiB L1, beside the probe and the results */
#define HOT_PASS     1024u              /* pointers of a pass over hot rows */
#define COLD_PASS    ((size_t)1 << 18)  /* pointers of a pass over memory */
#define HOP          32u                /* rows to a call of the 1 x many kernels */
#define POINTS       64u
#define MEMBERS      256u
#define PASS_NS      2e6 /* a pass is repeated until it takes so long */
#define PASSES       5
#define GAIN_WORTH   1.05 /* below that, a dimension does not deserve a row of its own */
#define OWN_MAX      128u

/* What the kernels work on; one for all rows of a dimension. */
struct bench {
    size_t dim;
    size_t stride;
    uint8_t *region; /* random bytes 1..255 that are floats in 0.5..1 as well */
    const void **hot;
    const void **cold;
    size_t cold_count;
    struct omen_probe probe;
    int8_t *packed;
    int32_t *bias;
    float *queries;
    void *out; /* POINTS x MEMBERS results */
    uint8_t *code;
    double memcpy_rate; /* GB/s */
};

/* A row and the pointers that one pass takes it over. */
struct trial {
    const struct bench *bench;
    const struct omen_kernel_row *row;
    const void *const *rows;
    size_t count;
};

typedef void pass_fn(const struct trial *trial);

static volatile double sink; /* results go here, so that no call can be left out */

static double now_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t random_bits(void)
{
    static uint64_t state = 42;
    uint64_t z = state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void *allocate(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(EXIT_FAILURE);
    }
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a kernel without them is slower, not wrong */
    return memory;
}

/* ---- a pass of each shape ------------------------------------------------------------------ */

static void pass_dot_i8_one(const struct trial *t)
{
    omen_dot_i8_one_fn *fn = (omen_dot_i8_one_fn *)t->row->fn;
    int64_t sum = 0;

    for (size_t i = 0; i < t->count; i++)
        sum += fn(t->rows[i], &t->bench->probe, t->bench->stride);
    sink = (double)sum;
}

static void pass_dot_i8_many(const struct trial *t)
{
    omen_dot_i8_many_fn *fn = (omen_dot_i8_many_fn *)t->row->fn;

    for (size_t i = 0; i < t->count; i += HOP)
        fn((const uint8_t *const *)t->rows + i, HOP, &t->bench->probe, t->bench->stride,
           t->bench->out);
}

static void pass_dot_i8_block(const struct trial *t)
{
    omen_dot_i8_block_fn *fn = (omen_dot_i8_block_fn *)t->row->fn;

    fn((const uint8_t *const *)t->rows, POINTS, t->bench->packed, t->bench->bias, MEMBERS,
       t->bench->stride, t->bench->out);
}

static void pass_pack_i8(const struct trial *t)
{
    omen_pack_i8_fn *fn = (omen_pack_i8_fn *)t->row->fn;

    for (size_t i = 0; i < t->count; i += MEMBERS)
        fn((const uint8_t *const *)t->rows + i, MEMBERS, t->bench->stride, t->bench->packed,
           t->bench->bias);
}

static void pass_near(const struct trial *t)
{
    omen_near_fn *fn = (omen_near_fn *)t->row->fn;
    const float *scale = (const float *)t->bench->hot[0];
    uint64_t marks[MEMBERS / 64];

    fn((struct omen_code_meta){0.5f, 0.5f}, t->bench->bias, scale, scale, MEMBERS, 0.5f,
       t->bench->out, marks);
    sink = (double)marks[0];
}

static void pass_encode_i8(const struct trial *t)
{
    omen_encode_i8_fn *fn = (omen_encode_i8_fn *)t->row->fn;

    for (size_t i = 0; i < t->count; i++)
        fn(t->rows[i], t->bench->dim, 127.0f, t->bench->code);
}

static void pass_max_abs_f32(const struct trial *t)
{
    omen_max_abs_f32_fn *fn = (omen_max_abs_f32_fn *)t->row->fn;
    float sum = 0;

    for (size_t i = 0; i < t->count; i++)
        sum += fn(t->rows[i], t->bench->dim);
    sink = (double)sum;
}

static void pass_widen_f16(const struct trial *t)
{
    omen_widen_f16_fn *fn = (omen_widen_f16_fn *)t->row->fn;

    for (size_t i = 0; i < t->count; i++)
        fn(t->rows[i], t->bench->dim, t->bench->out);
}

static void pass_narrow_f16(const struct trial *t)
{
    omen_narrow_f16_fn *fn = (omen_narrow_f16_fn *)t->row->fn;

    for (size_t i = 0; i < t->count; i++)
        fn(t->rows[i], t->bench->dim, (uint16_t *)(void *)t->bench->out);
}

static void pass_f32_one(const struct trial *t)
{
    omen_f32_one_fn *fn = (omen_f32_one_fn *)t->row->fn;
    float sum = 0;

    for (size_t i = 0; i < t->count; i++)
        sum += fn(t->bench->queries, t->rows[i], t->bench->dim);
    sink = (double)sum;
}

static void pass_f32_many(const struct trial *t)
{
    omen_f32_many_fn *fn = (omen_f32_many_fn *)t->row->fn;

    for (size_t i = 0; i < t->count; i += HOP)
        fn(t->bench->queries, (const float *const *)t->rows + i, HOP, t->bench->dim, t->bench->out);
}

static void pass_f32_block(const struct trial *t)
{
    omen_f32_block_fn *fn = (omen_f32_block_fn *)t->row->fn;

    fn(t->bench->queries, POINTS, t->rows[0], MEMBERS, t->bench->dim, t->bench->dim, t->bench->out,
       MEMBERS);
}

/* ---- measuring ----------------------------------------------------------------------------- */

/* How an op is measured. `units` of a pass is trial->count where it is 0; `element` is the bytes of
 * a component that is read, 0 where bandwidth says nothing. */
static const struct measure {
    const char *op;
    pass_fn *pass;
    size_t units;
    size_t element;
    int gathers; /* is called for rows anywhere in memory */
} measures[] = {
    {"dot_i8_one", pass_dot_i8_one, 0, 1, 1},
    {"dot_i8_many", pass_dot_i8_many, 0, 1, 1},
    {"dot_i8_block", pass_dot_i8_block, POINTS *MEMBERS, 0, 0},
    {"pack_i8", pass_pack_i8, 0, 1, 1},
    {"near", pass_near, MEMBERS, 0, 0},
    {"encode_i8", pass_encode_i8, 0, 4, 1},
    {"max_abs_f32", pass_max_abs_f32, 0, 4, 1},
    {"widen_f16", pass_widen_f16, 0, 2, 1},
    {"narrow_f16", pass_narrow_f16, 0, 4, 1},
    {"dot_f32_one", pass_f32_one, 0, 4, 1},
    {"dot_f32_many", pass_f32_many, 0, 4, 1},
    {"dot_f32_block", pass_f32_block, POINTS *MEMBERS, 0, 0},
    {"l2sq_f32_one", pass_f32_one, 0, 4, 1},
    {"l2sq_f32_many", pass_f32_many, 0, 4, 1},
    {"l2sq_f32_block", pass_f32_block, POINTS *MEMBERS, 0, 0},
};

/* CPU time, so that it does not count if another process takes the CPU away. To ask for that costs
 * more than some passes take, so it is not what ends the loop. */
static double pass_ns(pass_fn *pass, const struct trial *trial)
{
    const double start = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
    size_t repeats = 0;

    do {
        pass(trial);
        repeats++;
    } while (now_ns(CLOCK_MONOTONIC) - start < PASS_NS);
    return (now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / (double)repeats;
}

/* The best pass of each of `count` trials, which take turns: what else the machine does meanwhile
 * meets them alike. */
static void best_passes(pass_fn *pass, const struct trial *trials, size_t count, double *best)
{
    for (size_t t = 0; t < count; t++)
        pass(&trials[t]);
    for (int i = 0; i < PASSES; i++)
        for (size_t t = 0; t < count; t++) {
            const double ns = pass_ns(pass, &trials[t]);
            if (i == 0 || ns < best[t]) best[t] = ns;
        }
}

static double memcpy_gb_per_s(uint8_t *region)
{
    const size_t half = REGION_BYTES / 2;
    double best = 0;

    for (int i = 0; i < PASSES; i++) {
        const double start = now_ns(CLOCK_THREAD_CPUTIME_ID);
        memcpy(region + half, region, half);
        const double rate = (double)half / (now_ns(CLOCK_THREAD_CPUTIME_ID) - start);
        if (rate > best) best = rate;
    }
    return best;
}

static const struct measure *measure_of(const struct omen_kernel_row *row)
{
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++)
        if (strcmp(measures[i].op, row->op) == 0) return &measures[i];
    return NULL;
}

/* The row for any dimension of the same op and tier; NULL if `row` is that, or there is none. */
static const struct omen_kernel_row *rival_of(const struct omen_kernel_row *row)
{
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);

    for (size_t i = 0; i < count && row->dim != OMEN_DIM_any; i++)
        if (rows[i].dim == OMEN_DIM_any && rows[i].isa == row->isa &&
            strcmp(rows[i].op, row->op) == 0)
            return &rows[i];
    return NULL;
}

/* How many times as fast as its rival a row is; 0 where it has none, or was not measured so. */
struct gain {
    const char *name;
    double hot;
    double cold;
};

static struct gain print_row(const struct bench *bench, const struct omen_kernel_row *row)
{
    const struct measure *m = measure_of(row);
    const struct omen_kernel_row *rival = rival_of(row);
    const size_t trials = rival == NULL ? 1 : 2;
    struct gain gain = {.name = row->name};
    double best[2] = {0};

    if (m == NULL) {
        printf("%-28s not measured: no pass for its op\n", row->name);
        return gain;
    }
    const double bytes = (double)(bench->dim * m->element);
    const double units = (double)(m->units != 0 ? m->units : HOT_PASS);
    const struct trial hot[2] = {{bench, row, bench->hot, HOT_PASS},
                                 {bench, rival, bench->hot, HOT_PASS}};
    best_passes(m->pass, hot, trials, best);
    if (rival != NULL) gain.hot = best[1] / best[0];
    printf("%-28s %9.2f", row->name, best[0] / units);
    if (m->element != 0) printf(" %8.1f", bytes * units / best[0]);
    if (m->gathers != 0) {
        const struct trial cold[2] = {{bench, row, bench->cold, bench->cold_count},
                                      {bench, rival, bench->cold, bench->cold_count}};
        best_passes(m->pass, cold, trials, best);
        if (rival != NULL) gain.cold = best[1] / best[0];
        const double rate = bytes * (double)bench->cold_count / best[0];
        printf(" %10.2f %8.1f %6.0f %%", best[0] / (double)bench->cold_count, rate,
               100.0 * rate / bench->memcpy_rate);
    }
    if (rival != NULL)
        printf(" %+8.1f %% %+9.1f %%", 100.0 * (gain.hot - 1.0), 100.0 * (gain.cold - 1.0));
    printf("\n");
    return gain;
}

static void print_gains(const struct gain *gains, size_t count, bool winners)
{
    for (size_t i = 0; i < count; i++)
        if ((gains[i].hot >= GAIN_WORTH || gains[i].cold >= GAIN_WORTH) == winners)
            printf(" %s", gains[i].name);
    printf("\n");
}

/* ---- setting up ----------------------------------------------------------------------------- */

/* f32 rows are four times as long as codes; one list of pointers serves both, spaced for f32. */
static void aim(struct bench *b, size_t dim)
{
    const size_t row_bytes = omen_code_stride(dim) * sizeof(float);
    const size_t rows = REGION_BYTES / row_bytes;
    const size_t hot_rows = HOT_BYTES / row_bytes < 2 ? 2 : HOT_BYTES / row_bytes;
    omen_pack_i8_fn *pack = NULL;
    struct omen_kernels k;
    int32_t sum = 0;

    b->dim = dim;
    b->stride = omen_code_stride(dim);
    b->cold_count = rows < COLD_PASS ? rows / MEMBERS * MEMBERS : COLD_PASS;
    for (size_t i = 0; i < HOT_PASS; i++)
        b->hot[i] = b->region + i % hot_rows * row_bytes;
    for (size_t i = 0; i < b->cold_count; i++)
        b->cold[i] = b->region + random_bits() % rows * row_bytes;

    int8_t *values = (int8_t *)b->code + b->stride;
    for (size_t i = 0; i < b->stride; i++)
        sum += values[i] = (int8_t)((int)b->region[i] - (int)OMEN_CODE_ZERO);
    b->probe = (struct omen_probe){values, (int32_t)OMEN_CODE_ZERO * sum};
    memcpy(b->queries, b->region, POINTS * dim * sizeof *b->queries);
    omen_kernels_pick((uint32_t)dim, omen_cpu_isas(), &k);
    pack = k.pack_i8;
    pack((const uint8_t *const *)b->cold, MEMBERS, b->stride, b->packed, b->bias);
}

static void print_dim(struct bench *b, size_t dim)
{
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);
    const unsigned isas = omen_cpu_isas();

    struct gain own[OWN_MAX];
    size_t own_count = 0;

    aim(b, dim);
    b->memcpy_rate = memcpy_gb_per_s(b->region);
    printf("\ndim %zu; memcpy moves %.1f GB/s\n", dim, b->memcpy_rate);
    printf("%-28s %9s %8s %10s %8s %8s %10s %11s\n", "", "L1 ns", "GB/s", "memory ns", "GB/s",
           "memcpy", "L1 gain", "memory gain");
    for (size_t i = 0; i < count; i++) {
        if (rows[i].dim != OMEN_DIM_any && rows[i].dim != dim) continue;
        if (((unsigned)rows[i].isa & isas) == 0) {
            printf("%-28s this CPU cannot run it\n", rows[i].name);
            continue;
        }
        const struct gain gain = print_row(b, &rows[i]);
        if (gain.hot > 0 && own_count < OWN_MAX) own[own_count++] = gain;
        (void)fflush(stdout);
    }
    if (own_count == 0) return;
    printf("dim %zu, faster by 5 %% or more than the row for any:", dim);
    print_gains(own, own_count, true);
    printf("dim %zu, not so:", dim);
    print_gains(own, own_count, false);
}

int main(int argc, char **argv)
{
    static const size_t all[] = {128, 256, 384, 512, 768, 1536};
    const size_t dim_max = 4096;
    struct bench b = {
        .region = allocate(REGION_BYTES),
        .hot = allocate(HOT_PASS * sizeof(void *)),
        .cold = allocate(COLD_PASS * sizeof(void *)),
        .packed = allocate(MEMBERS * dim_max),
        .bias = allocate(MEMBERS * sizeof(int32_t)),
        .queries = allocate(POINTS * dim_max * sizeof(float)),
        .out = allocate(POINTS * MEMBERS * sizeof(float)),
        .code = allocate(2 * dim_max),
    };

    for (size_t i = 0; i < REGION_BYTES; i += 4) {
        const uint32_t bits = 0x3f010101u | ((uint32_t)random_bits() & 0x00fefefeu);
        memcpy(b.region + i, &bits, sizeof bits);
    }
    printf("tiers up to %s\n", omen_isas_top(omen_cpu_isas()));
    for (int i = 1; i < argc; i++) {
        const size_t dim = strtoul(argv[i], NULL, 10);
        if (dim < 1 || dim > dim_max) {
            (void)fprintf(stderr, "DIM %s: must be 1..%zu\n", argv[i], dim_max);
            return EXIT_FAILURE;
        }
        print_dim(&b, dim);
    }
    for (size_t i = 0; argc < 2 && i < sizeof all / sizeof *all; i++)
        print_dim(&b, all[i]);
    return EXIT_SUCCESS;
}
