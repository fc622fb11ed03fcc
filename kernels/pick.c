/* pick.c - the table of kernels, and the whole rule by which a collection gets its own.
 *
 * Happy path: omen_kernels_pick() once per collection; its pointers are called for ever after, so
 * no hot call asks what the CPU can do. It cannot fail: ref has a row for every op and dimension.
 * What it does not check is whether the CPU can run the tiers it is given: pass a subset of
 * omen_cpu_isas(), or the first call ends with an illegal instruction.
 */
#include "kernels/kernels.h"

#include <string.h>

#include "kernels/rows.h"

enum row_dim {
    DIM_any = OMEN_DIM_any,
    DIM_128 = 128,
    DIM_256 = 256,
    DIM_384 = 384,
    DIM_512 = 512,
    DIM_768 = 768,
    DIM_1536 = 1536,
};

static const struct omen_kernel_row kernel_rows[] = {
#define KERNEL(op, dim, isa)                                                                       \
    {#op, DIM_##dim, OMEN_ISA_##isa, #op "_" #dim "_" #isa,                                        \
     (void (*)(void))omen_##op##_##dim##_##isa},
#include "kernels/kernels.def"
};

static const struct omen_kernel_row *pick_row(const char *op, uint32_t dim, unsigned isas);

void omen_kernels_pick(uint32_t dim, unsigned isas, struct omen_kernels *out)
{
    const struct omen_kernel_row *row = NULL;

    out->dim = dim;
    out->isas = isas | OMEN_ISA_ref;
#define OP(field, type)                                                                            \
    row = pick_row(#field, dim, out->isas);                                                        \
    out->field = (type *)row->fn;                                                                  \
    out->field##_name = row->name;
    OMEN_KERNEL_OPS(OP)
#undef OP
}

const struct omen_kernel_row *omen_kernel_rows(size_t *count)
{
    *count = sizeof kernel_rows / sizeof *kernel_rows;
    return kernel_rows;
}

/* The last row that fits. The table begins with ref, so there always is one. */
static const struct omen_kernel_row *pick_row(const char *op, uint32_t dim, unsigned isas)
{
    const struct omen_kernel_row *best = NULL;

    for (size_t i = 0; i < sizeof kernel_rows / sizeof *kernel_rows; i++) {
        const struct omen_kernel_row *row = &kernel_rows[i];
        if (strcmp(row->op, op) != 0) continue;
        if (row->dim != OMEN_DIM_any && row->dim != dim) continue;
        if (((unsigned)row->isa & isas) == 0) continue;
        best = row;
    }
    return best;
}
