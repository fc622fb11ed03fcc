/* rows.h - the prototype of every row of kernels.def; private to this folder.
 *
 * It holds no code on purpose: an inline function here would be compiled once with AVX-512 flags
 * and once without, and the linker could keep the wrong one.
 */
#ifndef OMEN_KERNELS_ROWS_H
#define OMEN_KERNELS_ROWS_H

#include "kernels/kernels.h"

#define OP(field, type) typedef type omen_##field##_row;
OMEN_KERNEL_OPS(OP)
#undef OP

#define KERNEL(op, dim, isa) omen_##op##_row omen_##op##_##dim##_##isa;
#include "kernels/kernels.def"

#endif
